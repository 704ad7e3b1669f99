import EspalierLinearMaps
import Testing

@Suite struct NumericModeTests {
  @Test func namesAreThoseOfTheCommandLine() {
    #expect(NumericMode.allCases.map(\.rawValue) == ["exact", "fast"])
  }
}
