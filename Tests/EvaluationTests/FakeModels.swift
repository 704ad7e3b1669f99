import EspalierBasics
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import TestSupport

/// Logits of the next token from the last token alone, by a table; what the tests can work out by hand.
struct TableModel: LanguageModel {
  var table: [[Float]]
  var contextLength: Int?
  var mode = NumericMode.exact
  /// How much the whole prefix moves the logits: makes a window's rows depend on where it begins.
  var memory: Float = 0

  var vocabularySize: Int { table.count }

  func finalStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates {
    let count = sequences.reduce(0) { $0 + $1.count }
    let values = try AlignedBuffer(count: count * 2, of: Float.self)
    var starts = [0]
    var row = 0
    for sequence in sequences {
      var prefix: Float = 0
      for token in sequence {
        prefix = (prefix * 0.5) + Float(token)
        values.floats[2 * row] = Float(token)
        values.floats[2 * row + 1] = prefix
        row += 1
      }
      starts.append(row)
    }
    return FinalStates(starts: starts, width: 2, values: values)
  }

  func logits(
    of states: FinalStates, rows: Range<Int>, into logits: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    for (index, row) in rows.enumerated() {
      let token = Int(states.values.floats[2 * row])
      let prefix = states.values.floats[2 * row + 1]
      for next in 0..<vocabularySize {
        logits[index * vocabularySize + next] = table[token][next] + memory * prefix * Float(next % 3)
      }
    }
  }

  /// A table of numbers that look random.
  static func random(vocabulary: Int, seed: UInt64, spread: Float = 3, memory: Float = 0.01) -> TableModel {
    var random = SeededGenerator(seed: seed)
    let table = (0..<vocabulary).map { _ in random.floats(vocabulary).map { spread * $0 } }
    return TableModel(table: table, memory: memory)
  }

  /// The table with each entry moved by at most `amount`.
  func moved(by amount: Float, seed: UInt64) -> TableModel {
    var random = SeededGenerator(seed: seed)
    var copy = self
    copy.table = table.map { row in zip(row, random.floats(row.count)).map { $0 + amount * $1 } }
    return copy
  }
}

/// Bytes as tokens, modulo the vocabulary.
struct ByteCodec: TextCodec {
  var vocabulary = 256
  var beginToken: Int32?
  var prefixToken: Int32?

  func encode(_ text: String) throws(Problem) -> [Int32] { text.utf8.map { Int32($0) % Int32(vocabulary) } }
  func decode(_ ids: [Int32]) throws(Problem) -> String { String(decoding: ids.map { UInt8($0) }, as: UTF8.self) }
}

/// Words as tokens, each with the spaces before it, as byte-level BPE has them; spaces at the end are a token too.
struct WordCodec: TextCodec {
  var words: [String]
  var beginToken: Int32?
  var prefixToken: Int32?

  func encode(_ text: String) throws(Problem) -> [Int32] {
    var pieces: [String] = []
    var lastWasSpace = true
    for character in text {
      if pieces.isEmpty || (character == " " && !lastWasSpace) {
        pieces.append(String(character))
      } else {
        pieces[pieces.count - 1].append(character)
      }
      lastWasSpace = character == " "
    }
    var ids: [Int32] = []
    for piece in pieces {
      guard let id = words.firstIndex(of: piece) else { throw Problem(.evaluationData, "no token \"\(piece)\"") }
      ids.append(Int32(id))
    }
    return ids
  }

  func decode(_ ids: [Int32]) throws(Problem) -> String { ids.map { words[Int($0)] }.joined() }
}

/// Runs `body` with options on a pool of `threads`.
func withOptions<T>(
  threads: Int = 1, groupTokens: Int = 8192, logitBytes: Int = 1 << 20, _ body: (EvaluationOptions) throws -> T
) rethrows -> T {
  let pool = WorkerPool(threads: threads)
  defer { pool.stop() }
  return try body(
    EvaluationOptions(
      pool: pool, groupTokens: groupTokens, logitBytes: logitBytes, bootstrap: Bootstrap(resamples: 200)))
}

func text(_ texts: String..., named name: String = "text.txt") -> TextSet {
  TextSet(
    name: name,
    documents: texts.enumerated().map { TextSet.Document(name: "document \($0 + 1)", text: $1) })
}

/// ln p of the tokens of a distribution, in float64.
func logProbabilities(_ logits: [Float]) -> [Double] {
  let greatest = Double(logits.max() ?? 0)
  let sum = logits.reduce(0) { $0 + Elementary.exp(Double($1) - greatest) }
  return logits.map { Double($0) - greatest - Elementary.log(sum) }
}
