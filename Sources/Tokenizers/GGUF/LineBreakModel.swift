internal import EspalierBasics

/// A byte-pair model that takes line breaks in a row as one token where there is such a one, merges or not.
struct LineBreakModel: SubwordModel {
  let model: BytePairModel

  var tokens: TokenTable { model.tokens }

  func tokenize(_ word: UnsafeBufferPointer<UInt8>, into result: inout [WordToken]) throws(Problem) {
    if word.allSatisfy({ $0 == 0x0A }), let id = tokens.id(of: word) {
      result.append(WordToken(id: id, start: 0, end: word.count))
    } else {
      try model.tokenize(word, into: &result)
    }
  }
}
