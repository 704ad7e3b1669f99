internal import EspalierBasics

/// Documents as sequences: what a text metric runs.
struct ScoredText {
  struct Document {
    var name: String
    var tokenCount: Int
    var byteCount: Int
    var sequences: Range<Int>
  }

  let name: String
  let cut: TextProtocol
  private(set) var documents: [Document] = []
  private(set) var sequences: [ScoredSequence] = []

  /// Encodes and cuts the documents.
  ///
  /// - Throws: `evaluation.data` if no document is long enough for one sequence.
  init(_ text: TextSet, codec: any TextCodec, cut: TextProtocol) throws(Problem) {
    name = text.name
    self.cut = cut
    var longest = 0
    for document in text.documents {
      do throws(Problem) {
        let tokens = try codec.encode(document.text)
        longest = max(longest, tokens.count)
        let first = sequences.count
        sequences += try cut.sequences(of: tokens, codec: codec)
        documents.append(
          Document(
            name: document.name, tokenCount: tokens.count, byteCount: document.text.utf8.count,
            sequences: first..<sequences.count))
      } catch { throw error.at(file: document.name) }
    }
    guard !sequences.isEmpty else {
      throw Problem(
        .evaluationData, "no document is long enough: the longest has \(longest) tokens (\(cut.text))",
        remedy: "Give more text or choose shorter windows.", file: text.name)
    }
  }

  /// Documents that gave at least one sequence.
  var scoredDocuments: [Document] { documents.filter { !$0.sequences.isEmpty } }

  /// What is drawn again for intervals: documents where there are ten or more, else sequences.
  var units: Sampling.Units { scoredDocuments.count >= 10 ? .documents : .windows }

  /// The sums of each unit, of sums of each sequence, in order.
  func unitSums(_ sums: [Double]) -> [Double] {
    switch units {
    case .documents: scoredDocuments.map { sums[$0.sequences].reduce(0, +) }
    default: sums
    }
  }

  /// Tokens and bytes of the documents that were scored, in whole.
  var tokenCount: Int { scoredDocuments.reduce(0) { $0 + $1.tokenCount } }
  var byteCount: Int { scoredDocuments.reduce(0) { $0 + $1.byteCount } }

  var counts: [Count] {
    var counts = [Count("documents", documents.count), Count("windows", sequences.count)]
    let left = documents.count - scoredDocuments.count
    if left > 0 { counts.append(Count("documents too short to score", left)) }
    counts.append(Count("tokens scored", sequences.reduce(0) { $0 + $1.targets.count }))
    return counts
  }
}
