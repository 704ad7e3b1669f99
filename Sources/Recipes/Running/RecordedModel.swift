internal import EspalierBasics
internal import EspalierEvaluation
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import Synchronization

/// A language model that remembers the final states of texts: what is compared with many others runs once.
final class RecordedModel: LanguageModel {
  private let model: any LanguageModel
  private let states = Mutex<[[[Int32]]: FinalStates]>([:])

  init(_ model: any LanguageModel) { self.model = model }

  var vocabularySize: Int { model.vocabularySize }
  var contextLength: Int? { model.contextLength }
  var mode: NumericMode { model.mode }

  func finalStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates {
    if let known = states.withLock({ $0[sequences] }) { return known }
    let found = try model.finalStates(of: sequences)
    states.withLock { $0[sequences] = found }
    return found
  }

  func logits(
    of states: FinalStates, rows: Range<Int>, into logits: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    try model.logits(of: states, rows: rows, into: logits)
  }
}
