internal import EspalierBasics

/// Unigram language model (Kudo, arXiv 1804.10959) with SentencePiece's normalization, as llama.cpp runs both; a word
/// is all the text between special tokens.
///
/// Like ``UnigramModel``, but tokens that users defined are not normalized and have score 0, and the character map is
/// applied to the longest string it knows.
struct SentenceUnigramModel: SubwordModel {
  struct Options: Sendable {
    var unknownID: Int32
    var addsSpacePrefix: Bool
    var removesExtraSpaces: Bool
    var map: CharacterMap?
  }

  let tokens: TokenTable
  private let options: Options
  private let trie: ByteTrie
  private let userDefined: ByteTrie
  /// By id; those that users defined have 0.
  private let scores: [Double]
  private let unknownScore: Double

  /// - Parameters:
  ///   - scores: logarithms of probabilities, by id.
  ///   - kinds: by id; only normal, unused and user-defined tokens are found.
  init(
    tokens: TokenTable, scores: [Float], kinds: [GGUFVocabulary.Kind], options: Options
  ) throws(Problem) {
    self.tokens = tokens
    self.options = options
    var found: [(bytes: ArraySlice<UInt8>, value: Int32)] = []
    var defined: [(bytes: ArraySlice<UInt8>, value: Int32)] = []
    var smallest = Float.greatestFiniteMagnitude
    for (bytes, id) in tokens.entries {
      switch kinds[Int(id)] {
      case .normal:
        smallest = min(smallest, scores[Int(id)])
        found.append((bytes, id))
      case .unused: found.append((bytes, id))
      case .userDefined:
        found.append((bytes, id))
        defined.append((bytes, id))
      default: break
      }
    }
    trie = try ByteTrie(found)
    userDefined = try ByteTrie(defined)
    self.scores = zip(scores, kinds).map { score, kind in kind == .userDefined ? 0 : Double(score) }
    unknownScore = Double(smallest - 10)
  }

  /// A normalized text, and where in the word each of its bytes came from.
  private struct Normalized {
    var bytes: [UInt8] = []
    var starts: [Int32] = []
    var ends: [Int32] = []

    mutating func append(_ text: some Sequence<UInt8>, from range: Range<Int>) {
      for byte in text {
        bytes.append(byte)
        starts.append(Int32(truncatingIfNeeded: range.lowerBound))
        ends.append(Int32(truncatingIfNeeded: range.upperBound))
      }
    }
  }

  private static let space: [UInt8] = [0xE2, 0x96, 0x81]

  private func normalized(_ word: UnsafeBufferPointer<UInt8>) -> Normalized {
    var result = Normalized()
    var hasPrefix = false
    var inWord = false
    var position = 0
    while position < word.count {
      let (text, length) = prefix(UnsafeBufferPointer(rebasing: word[position...]))
      let range = position..<position + length
      for byte in text {
        if byte == 0x20 {
          inWord = false
          if !options.removesExtraSpaces { result.append(Self.space, from: range) }
          continue
        }
        if !inWord {
          inWord = true
          if (options.addsSpacePrefix && !hasPrefix) || options.removesExtraSpaces {
            result.append(Self.space, from: range.lowerBound..<range.lowerBound)
            hasPrefix = true
          }
        }
        result.append(CollectionOfOne(byte), from: range)
      }
      position += length
    }
    return result
  }

  /// What the beginning of a text becomes, and how long that beginning is.
  private func prefix(_ text: UnsafeBufferPointer<UInt8>) -> (text: [UInt8], length: Int) {
    // As far as some token that users defined goes along, whether or not it ends there.
    var length = 0
    var node: UInt32 = 0
    while length < text.count, let child = userDefined.child(of: node, text[length]) {
      node = child
      length += 1
    }
    if length > 0 { return (Array(text[..<length]), length) }
    if let (replacement, length) = options.map?.longestReplacement(of: text) { return (replacement, length) }
    let single = min(UTF8Reading.length(text[0]), text.count)
    return (Array(text[..<single]), single)
  }

  /// The best way to a place between two characters.
  private struct Step {
    var score = -Double.greatestFiniteMagnitude
    var start: Int32 = 0
    var id: Int32
  }

  func tokenize(_ word: UnsafeBufferPointer<UInt8>, into result: inout [WordToken]) {
    let text = normalized(word)
    guard !text.bytes.isEmpty else { return }
    var steps = [Step](repeating: Step(id: options.unknownID), count: text.bytes.count + 1)
    steps[0].score = 0
    text.bytes.withUnsafeBufferPointer { bytes in search(bytes, &steps) }
    // Backwards, and neighbouring unknown characters are one token.
    var found: [WordToken] = []
    var end = text.bytes.count
    while end > 0 {
      let step = steps[end]
      let start = min(Int(step.start), end - 1)
      let (from, to) = (Int(text.starts[start]), Int(text.ends[end - 1]))
      if step.id == options.unknownID, let last = found.last, last.id == options.unknownID {
        found[found.count - 1].start = Int32(truncatingIfNeeded: from)
      } else {
        found.append(WordToken(id: step.id, start: from, end: to))
      }
      end = start
    }
    result += found.reversed()
  }

  private func search(_ bytes: UnsafeBufferPointer<UInt8>, _ steps: inout [Step]) {
    var start = 0
    while start < bytes.count {
      let score = steps[start].score
      let next = min(start + UTF8Reading.length(bytes[start]), bytes.count)
      func offer(_ end: Int, _ id: Int32, _ tokenScore: Double) {
        guard score + tokenScore > steps[end].score else { return }
        steps[end] = Step(score: score + tokenScore, start: Int32(truncatingIfNeeded: start), id: id)
      }
      var hasSingle = false
      var node: UInt32 = 0
      var end = start
      while end < bytes.count, let child = trie.child(of: node, bytes[end]) {
        node = child
        end += 1
        let id = trie.value(node)
        guard id >= 0 else { continue }
        if end == next { hasSingle = true }
        offer(end, id, scores[Int(id)])
      }
      if !hasSingle { offer(next, options.unknownID, unknownScore) }
      start = next
    }
  }
}
