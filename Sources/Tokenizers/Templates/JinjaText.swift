extension Jinja {
  /// Python's operations on strings, by code point, and what the lexer needs of them.
  enum Text {
    /// Python's `str.isspace`: the property White_Space, and the four separators of ASCII.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
      switch scalar.value {
      case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0: true
      case 0..<0x1680: false
      default: scalar.properties.isWhitespace
      }
    }

    /// UTF-8 without the white space at its end.
    static func trimmedEnd(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
      // White space beyond ASCII has two or three bytes.
      var end = bytes.endIndex
      while end > bytes.startIndex {
        var start = end - 1
        while start > bytes.startIndex, bytes[start] & 0xC0 == 0x80 { start -= 1 }
        let scalars = String(decoding: bytes[start..<end], as: UTF8.self).unicodeScalars
        guard scalars.allSatisfy(isSpace) else { break }
        end = start
      }
      return bytes[..<end]
    }

    /// Where the white space that begins at `start` ends.
    static func skipSpace(_ bytes: [UInt8], from start: Int) -> Int {
      var index = start
      while index < bytes.count {
        if bytes[index] < 0x80 {
          guard isSpace(Unicode.Scalar(bytes[index])) else { break }
          index += 1
        } else {
          let length = bytes[index] >= 0xF0 ? 4 : bytes[index] >= 0xE0 ? 3 : 2
          let end = min(index + length, bytes.count)
          guard String(decoding: bytes[index..<end], as: UTF8.self).unicodeScalars.allSatisfy(isSpace) else { break }
          index = end
        }
      }
      return index
    }

    /// The character at a byte, for messages.
    static func character(_ bytes: [UInt8], at index: Int) -> Character {
      String(decoding: bytes[index..<min(index + 4, bytes.count)], as: UTF8.self).first ?? "?"
    }

    static func isEqual(_ a: String, _ b: String) -> Bool {
      a.utf8.count == b.utf8.count && a.utf8.elementsEqual(b.utf8)
    }

    /// The order of code points, which is that of UTF-8 bytes.
    static func isLess(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

    static func count(_ text: String) -> Int { text.unicodeScalars.count }

    static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
      var view = String.UnicodeScalarView()
      view.append(contentsOf: scalars)
      return String(view)
    }

    static func string(_ bytes: some Collection<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }

    // MARK: Stripping

    /// Which ends a method works on.
    struct Ends: OptionSet {
      let rawValue: Int
      static let left = Ends(rawValue: 1)
      static let right = Ends(rawValue: 2)
      static let both: Ends = [.left, .right]
    }

    /// Without white space, or without the characters of `set`, at its ends.
    static func strip(_ text: String, _ set: String?, _ ends: Ends = .both) -> String {
      let members = set.map { Set($0.unicodeScalars) }
      func strips(_ scalar: Unicode.Scalar) -> Bool { members?.contains(scalar) ?? isSpace(scalar) }
      var rest = text.unicodeScalars[...]
      if ends.contains(.left) { rest = rest.drop(while: strips) }
      if ends.contains(.right) { while let last = rest.last, strips(last) { rest.removeLast() } }
      return String(rest)
    }

    // MARK: Searching, in time linear in the text (Knuth, Morris, Pratt 1977)

    /// Where `pattern` begins in `text`, without overlaps, at most `limit` times; bytes from the beginning.
    /// An empty pattern is found nowhere.
    static func occurrences(of pattern: [UInt8], in text: [UInt8], limit: Int = .max) -> [Int] {
      guard !pattern.isEmpty, pattern.count <= text.count, limit > 0 else { return [] }
      var border = [0]
      border.reserveCapacity(pattern.count)
      var length = 0
      for index in 1..<max(pattern.count, 1) {
        while length > 0, pattern[index] != pattern[length] { length = border[length - 1] }
        if pattern[index] == pattern[length] { length += 1 }
        border.append(length)
      }
      var found: [Int] = []
      var matched = 0
      for (index, byte) in text.enumerated() {
        while matched > 0, byte != pattern[matched] { matched = border[matched - 1] }
        if byte == pattern[matched] { matched += 1 }
        if matched == pattern.count {
          found.append(index + 1 - matched)
          if found.count == limit { break }
          matched = 0
        }
      }
      return found
    }

    static func contains(_ text: String, _ part: String) -> Bool {
      part.isEmpty || !occurrences(of: Array(part.utf8), in: Array(text.utf8), limit: 1).isEmpty
    }

    /// The code point at which `part` begins, the first or the last such; nil if it does not occur.
    static func find(_ text: String, _ part: String, last: Bool = false) -> Int? {
      if part.isEmpty { return last ? count(text) : 0 }
      let bytes = Array(text.utf8)
      // From the right, what overlaps an earlier occurrence counts too: both are searched backwards.
      let offset: Int
      if last {
        let found = occurrences(of: part.utf8.reversed(), in: bytes.reversed(), limit: 1)
        guard let first = found.first else { return nil }
        offset = bytes.count - first - part.utf8.count
      } else {
        guard let first = occurrences(of: Array(part.utf8), in: bytes, limit: 1).first else { return nil }
        offset = first
      }
      return bytes[..<offset].count { $0 & 0xC0 != 0x80 }
    }

    /// How often `part` occurs; an empty one between all characters and at both ends.
    static func count(_ part: String, in text: String) -> Int {
      part.isEmpty ? count(text) + 1 : occurrences(of: Array(part.utf8), in: Array(text.utf8)).count
    }

    static func replace(_ text: String, _ old: String, by new: String, limit: Int = .max) -> String {
      var out: [UInt8] = []
      if old.isEmpty {
        var left = limit
        for scalar in text.unicodeScalars {
          if left > 0 {
            out += new.utf8
            left -= 1
          }
          out += String(Character(scalar)).utf8
        }
        if left > 0 { out += new.utf8 }
        return string(out)
      }
      let bytes = Array(text.utf8)
      var start = 0
      for offset in occurrences(of: Array(old.utf8), in: bytes, limit: limit) {
        out += bytes[start..<offset]
        out += new.utf8
        start = offset + old.utf8.count
      }
      return string(out + bytes[start...])
    }

    // MARK: Splitting

    /// The parts between occurrences of `separator`, which is not empty, split at most `limit` times.
    static func split(_ text: String, by separator: String, limit: Int, fromRight: Bool) -> [String] {
      let bytes = Array(text.utf8)
      let width = separator.utf8.count
      var offsets: [Int]
      if fromRight {
        let found = occurrences(of: separator.utf8.reversed(), in: bytes.reversed(), limit: limit)
        offsets = found.reversed().map { bytes.count - $0 - width }
      } else {
        offsets = occurrences(of: Array(separator.utf8), in: bytes, limit: limit)
      }
      var parts: [String] = []
      var start = 0
      for offset in offsets {
        parts.append(string(bytes[start..<offset]))
        start = offset + width
      }
      return parts + [string(bytes[start...])]
    }

    /// The words between white space, split at most `limit` times.
    static func words(_ text: String, limit: Int, fromRight: Bool) -> [String] {
      var scalars = Array(text.unicodeScalars)
      if fromRight { scalars.reverse() }
      var words: [[Unicode.Scalar]] = []
      var index = 0
      while true {
        while index < scalars.count, isSpace(scalars[index]) { index += 1 }
        guard index < scalars.count else { break }
        var end = index
        if words.count == limit {
          end = scalars.count
          words.append(Array(scalars[index..<end]))
          break
        }
        while end < scalars.count, !isSpace(scalars[end]) { end += 1 }
        words.append(Array(scalars[index..<end]))
        index = end
      }
      guard fromRight else { return words.map { string($0) } }
      return words.reversed().map { string($0.reversed()) }
    }

    /// Python's `str.splitlines`.
    static func lines(_ text: String, keepEnds: Bool = false) -> [String] {
      let scalars = Array(text.unicodeScalars)
      var lines: [String] = []
      var start = 0
      var index = 0
      while index < scalars.count {
        var end = index + 1
        switch scalars[index].value {
        case 0x0D where end < scalars.count && scalars[end].value == 0x0A: end += 1
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: break
        default:
          index = end
          continue
        }
        lines.append(string(scalars[start..<(keepEnds ? end : index)]))
        start = end
        index = end
      }
      return start < scalars.count ? lines + [string(scalars[start...])] : lines
    }

    // MARK: Case

    static func isCased(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isCased }

    /// Lower case by Unicode's full mapping, with the sigma that ends words.
    static func lower(_ text: String) -> String {
      let scalars = Array(text.unicodeScalars)
      return scalars.indices.reduce(into: "") { $0 += lower(scalars, at: $1) }
    }

    private static func lower(_ scalars: [Unicode.Scalar], at index: Int) -> String {
      scalars[index] == "\u{3A3}" && endsWord(scalars, at: index)
        ? "\u{3C2}" : scalars[index].properties.lowercaseMapping
    }

    private static func endsWord(_ scalars: [Unicode.Scalar], at index: Int) -> Bool {
      let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
      let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
      return before.map(isCased) == true && after.map(isCased) != true
    }

    static func upper(_ text: String) -> String {
      text.unicodeScalars.reduce(into: "") { $0 += $1.properties.uppercaseMapping }
    }

    static func capitalize(_ text: String) -> String {
      guard let first = text.unicodeScalars.first else { return "" }
      return first.properties.titlecaseMapping + lower(String(text.unicodeScalars.dropFirst()))
    }

    /// Python's `str.title`: a letter that follows no letter is upper case, others are lower case.
    static func title(_ text: String) -> String {
      let scalars = Array(text.unicodeScalars)
      var out = ""
      var afterCased = false
      for (index, scalar) in scalars.enumerated() {
        out += afterCased ? lower(scalars, at: index) : scalar.properties.titlecaseMapping
        afterCased = isCased(scalar)
      }
      return out
    }

    static func swapCase(_ text: String) -> String {
      text.unicodeScalars.reduce(into: "") { out, scalar in
        out +=
          scalar.properties.isLowercase
          ? scalar.properties.uppercaseMapping
          : scalar.properties.isUppercase ? scalar.properties.lowercaseMapping : String(Character(scalar))
      }
    }

    /// Python's `islower` and `isupper`: some letter has a case, and none has the other.
    static func isAll(lower: Bool, _ text: String) -> Bool {
      var some = false
      for scalar in text.unicodeScalars {
        let properties = scalar.properties
        if properties.generalCategory == .titlecaseLetter || (lower ? properties.isUppercase : properties.isLowercase) {
          return false
        }
        if lower ? properties.isLowercase : properties.isUppercase { some = true }
      }
      return some
    }

    static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
      switch scalar.properties.generalCategory {
      case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
      default: false
      }
    }

    static func isDecimal(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.generalCategory == .decimalNumber }
    static func isDigit(_ scalar: Unicode.Scalar) -> Bool {
      switch scalar.properties.numericType {
      case .decimal, .digit: true
      default: false
      }
    }
    static func isNumeric(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.numericType != nil }

    // MARK: Padding

    static func padded(_ text: String, to width: Int, with fill: Character, left: Int, right: Int) -> String {
      String(repeating: fill, count: left) + text + String(repeating: fill, count: right)
    }
  }
}
