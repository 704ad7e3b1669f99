import EspalierNetworks
import EspalierNumerics
import Testing

@Suite struct FinalStatesTests {
  @Test func rowsOfSequencesFollowOneAnother() throws {
    let states = FinalStates(starts: [0, 3, 4], width: 2, values: try AlignedBuffer(count: 8, of: Float.self))
    #expect(states.rows(ofSequence: 0) == 0..<3)
    #expect(states.rows(ofSequence: 1) == 3..<4)
  }
}
