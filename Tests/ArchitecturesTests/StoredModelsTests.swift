import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// Every saved model is described exactly: its names, its shapes, nothing missing, nothing more.
@Suite struct StoredModelsTests {
  @Test func fixturesAreThere() { #expect(Fixture.names.count >= 70) }

  @Test(arguments: Fixture.names) func namesAndShapes(_ name: String) throws {
    let fixture = try Fixture(name)
    let model = try fixture.described()
    let fit = model.fit(names: fixture.shapes.keys.sorted())
    #expect(fit.unknown == [], "stored but not described")
    #expect(fit.repeated == [], "stored twice")
    #expect(fit.missing.map(\.name) == [], "described but not stored")
    for (stored, parameter) in fit.described {
      #expect(parameter.shape == fixture.shapes[stored], "\(stored)")
    }
  }

  /// What a config ties may be left out of the file, and nothing else that a network consumes may.
  @Test(arguments: Fixture.names) func onlyWhatIsTiedReplacedOrABufferIsLeftOut(_ name: String) throws {
    let fixture = try Fixture(name)
    let model = try fixture.described()
    let stored = Set(model.fit(names: fixture.shapes.keys.sorted()).described.map(\.parameter.name))
    for parameter in model.parameters where !stored.contains(parameter.name) {
      let isReplacement = !parameter.replaces.isEmpty
      let isOptionalPart = [.pooler, .buffer].contains(parameter.role.part)
      #expect(parameter.tiedTo != nil || isReplacement || isOptionalPart, "\(parameter.name)")
      if let target = parameter.tiedTo { #expect(stored.contains(target), "\(parameter.name) is tied to \(target)") }
    }
  }
}
