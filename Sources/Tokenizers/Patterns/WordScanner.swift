internal import EspalierBasics

/// The expressions of well-known tokenizers, written out as scanners. Each of them matches everywhere, so that its
/// matches tile a text.
enum WordScanner: Sendable, Equatable {
  /// GPT-2: contractions, then runs of letters, of numbers, of others, each with a space before, then white space.
  case gpt2
  /// cl100k and its relatives (Llama 3, Qwen 2): any sign before letters, and numbers of at most so many digits.
  case cl100k(digits: Int)
  /// o200k: as cl100k, but words begin anew at capitals, and contractions belong to their words.
  case o200k

  init?(pattern: String) {
    let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    let rest = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    let text = ExactString(pattern)
    if text == #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"# {
      self = .gpt2
    } else if text == ExactString(contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + rest) {
      self = .cl100k(digits: 3)
    } else if text == ExactString(contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + rest) {
      self = .cl100k(digits: 1)
    } else if text == ExactString(Self.o200kPattern) {
      self = .o200k
    } else {
      return nil
    }
  }

  private static let o200kPattern =
    #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
    + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
    + #"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  /// Where the match that begins at `start`, before the end of the text, ends.
  @inline(__always)
  func end(of text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    switch self {
    case .gpt2: Self.gpt2(text, start)
    case .cl100k(let digits): Self.cl100k(text, start, digits)
    case .o200k: Self.o200k(text, start)
    }
  }

  /// What scanners ask of a scalar.
  struct Kind: OptionSet {
    let rawValue: UInt8
    static let letter = Kind(rawValue: 1)
    static let number = Kind(rawValue: 2)
    static let space = Kind(rawValue: 4)
    static let lineBreak = Kind(rawValue: 8)
    /// Lu, Lt, Lm, Lo or a mark: what words begin with in o200k.
    static let beginning = Kind(rawValue: 16)
    /// Ll, Lm, Lo or a mark: what words go on with in o200k.
    static let continuing = Kind(rawValue: 32)
  }

  private static func kind(of scalar: UInt32) -> Kind {
    var kind: Kind = []
    let category = ScalarClass.category(scalar)
    if CategorySet.letter.contains(category) { kind.insert(.letter) }
    if CategorySet.number.contains(category) { kind.insert(.number) }
    if ScalarClass.isWhitespace(scalar) { kind.insert(.space) }
    if scalar == 0x0A || scalar == 0x0D { kind.insert(.lineBreak) }
    let both = CategorySet(.lm, .lo).union(.mark)
    if both.union(CategorySet(.lu, .lt)).contains(category) { kind.insert(.beginning) }
    if both.union(CategorySet(.ll)).contains(category) { kind.insert(.continuing) }
    return kind
  }

  /// The kinds of all scalars: a byte each, in blocks.
  private static let kinds = ScalarTable { kind(of: $0).rawValue }

  @inline(__always)
  private static func look(_ text: UnsafeBufferPointer<UInt8>, _ position: Int) -> (kind: Kind, length: Int) {
    let (scalar, length) = UTF8Reading.scalar(text, at: position)
    return (Kind(rawValue: kinds[scalar]), length)
  }

  /// The end of the run of scalars for which `holds` does.
  @inline(__always)
  private static func run(
    _ text: UnsafeBufferPointer<UInt8>, _ start: Int, while holds: (Kind) -> Bool
  ) -> Int {
    var position = start
    while position < text.count {
      let (kind, length) = look(text, position)
      guard holds(kind) else { break }
      position += length
    }
    return position
  }

  private static func isOther(_ kind: Kind) -> Bool { kind.isDisjoint(with: [.letter, .number, .space]) }

  private static func gpt2(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    let first = text[start]
    if first == UInt8(ascii: "'"), let end = contraction(text, start, ignoringCase: false) { return end }
    let position = first == 0x20 && start + 1 < text.count ? start + 1 : start
    let (kind, length) = look(text, position)
    if kind.contains(.letter) { return run(text, position + length) { $0.contains(.letter) } }
    if kind.contains(.number) { return run(text, position + length) { $0.contains(.number) } }
    if isOther(kind) { return run(text, position + length, while: isOther) }
    return whitespace(text, start)
  }

  private static func cl100k(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ digits: Int) -> Int {
    let first = text[start]
    if first == UInt8(ascii: "'"), let end = contraction(text, start, ignoringCase: true) { return end }
    let (kind, length) = look(text, start)
    if kind.contains(.letter) { return run(text, start + length) { $0.contains(.letter) } }
    if kind.contains(.number) { return number(text, start, digits) }
    if !kind.contains(.lineBreak), start + length < text.count {
      let (next, nextLength) = look(text, start + length)
      if next.contains(.letter) { return run(text, start + length + nextLength) { $0.contains(.letter) } }
    }
    return signsOrSpace(text, start, kind, length, breaks: [0x0A, 0x0D])
  }

  private static func o200k(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    let (kind, length) = look(text, start)
    let mayLead = kind.isDisjoint(with: [.letter, .number, .lineBreak])
    let afterLead = mayLead && start + length < text.count ? start + length : nil
    for begin in [afterLead, start] {
      if let begin, let end = lowercaseWord(text, begin) {
        return contraction(text, end, ignoringCase: true) ?? end
      }
    }
    for begin in [afterLead, start] {
      guard let begin else { continue }
      let capitals = run(text, begin) { $0.contains(.beginning) }
      guard capitals > begin else { continue }
      let end = run(text, capitals) { $0.contains(.continuing) }
      return contraction(text, end, ignoringCase: true) ?? end
    }
    if kind.contains(.number) { return number(text, start, 3) }
    return signsOrSpace(text, start, kind, length, breaks: [0x0A, 0x0D, UInt8(ascii: "/")])
  }

  /// `[beginning]*[continuing]+`: the run of beginnings gives back what the second part needs.
  private static func lowercaseWord(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int? {
    var position = start
    var afterLastBoth: Int?
    while position < text.count {
      let (kind, length) = look(text, position)
      guard kind.contains(.beginning) else { break }
      position += length
      if kind.contains(.continuing) { afterLastBoth = position }
    }
    let end = run(text, position) { $0.contains(.continuing) }
    return end > position ? end : afterLastBoth
  }

  private static func number(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ digits: Int) -> Int {
    var position = start
    for _ in 0..<digits where position < text.count {
      let (kind, length) = look(text, position)
      guard kind.contains(.number) else { break }
      position += length
    }
    return position
  }

  /// ` ?[^\s\p{L}\p{N}]+[breaks]*|\s*[\r\n]+|\s+(?!\S)|\s+`
  private static func signsOrSpace(
    _ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ kind: Kind, _ length: Int, breaks: [UInt8]
  ) -> Int {
    let position = text[start] == 0x20 && start + 1 < text.count ? start + 1 : start
    if isOther(look(text, position).kind) {
      var end = run(text, position, while: isOther)
      while end < text.count, breaks.contains(text[end]) { end += 1 }
      return end
    }
    var end = start
    var afterBreak: Int?
    while end < text.count {
      let (kind, length) = look(text, end)
      guard kind.contains(.space) else { break }
      end += length
      if kind.contains(.lineBreak) { afterBreak = end }
    }
    return afterBreak ?? whitespace(text, start)
  }

  /// `\s+(?!\S)|\s+`: a run of white space but for its last scalar, which belongs to what follows.
  private static func whitespace(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    let end = run(text, start) { $0.contains(.space) }
    guard end < text.count else { return end }
    let last = UTF8Reading.start(before: end, in: text)
    return last > start ? last : end
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d` at `start`.
  private static func contraction(
    _ text: UnsafeBufferPointer<UInt8>, _ start: Int, ignoringCase: Bool
  ) -> Int? {
    guard start + 1 < text.count, text[start] == UInt8(ascii: "'") else { return nil }
    let fold: UInt8 = ignoringCase ? 0x20 : 0
    switch text[start + 1] | fold {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
      return text[start + 1] < 0x80 ? start + 2 : nil
    case UInt8(ascii: "r"), UInt8(ascii: "v"):
      return start + 2 < text.count && text[start + 2] | fold == UInt8(ascii: "e") ? start + 3 : nil
    case UInt8(ascii: "l"):
      return start + 2 < text.count && text[start + 2] | fold == UInt8(ascii: "l") ? start + 3 : nil
    default:
      // A long s folds to s.
      let isLongS = ignoringCase && start + 2 < text.count && text[start + 1] == 0xC5 && text[start + 2] == 0xBF
      return isLongS ? start + 3 : nil
    }
  }
}
