internal import EspalierBasics

// Filters by name: which there are, and those that make texts and numbers. Those on sequences are in
// `JinjaSequenceFilters.swift`.
extension Jinja.Interpreter {
  typealias FilterFunction = @Sendable (Jinja.Interpreter, Value, CallArguments) throws(Problem) -> Value

  static let filters: [String: FilterFunction] = textFilters.merging(numberFilters) { first, _ in first }
    .merging(sequenceFilters) { first, _ in first }

  func apply(filter name: String, to value: Value, _ given: CallArguments) throws(Problem) -> Value {
    guard let filter = Self.filters[name] else {
      let nearest = Spelling.nearest(to: name, among: Self.filters.keys.sorted())
      throw source.problem(
        .chatTemplateUnsupported, "there is no filter '\(name)'" + (nearest.map { "; '\($0)'?" } ?? ""), at: offset)
    }
    return try filter(self, value, given)
  }

  // MARK: Arguments of filters

  func bind(_ given: CallArguments, _ parameters: [String], required: Int = 0) throws(Problem) -> [Value?] {
    try bind(given, to: "filter", parameters, required: required)
  }

  func integer(_ value: Value?, _ fallback: Int) throws(Problem) -> Int {
    guard let value else { return fallback }
    guard let integer = value.integer else { throw failure("expected an integer, not a \(value.typeName)") }
    return integer
  }

  /// An integer, or nothing where there is none.
  func optionalInteger(_ value: Value?) throws(Problem) -> Int? {
    if case .none? = value { return nil }
    return try value.map { value throws(Problem) in try integer(value, 0) }
  }

  func string(_ value: Value?, _ fallback: String = "") throws(Problem) -> String {
    guard let value else { return fallback }
    guard let string = value.string else { throw failure("expected a str, not a \(value.typeName)") }
    return string
  }

  func optionalString(_ value: Value?) throws(Problem) -> String? {
    if case .none? = value { return nil }
    return try value.map { value throws(Problem) in try string(value) }
  }

  // MARK: Texts

  private static let textFilters: [String: FilterFunction] = [
    "capitalize": text { Jinja.Text.capitalize($0) },
    "lower": text { Jinja.Text.lower($0) },
    "upper": text { Jinja.Text.upper($0) },
    "title": text { Jinja.titleOfWords($0) },
    "string": text { $0 },
    "safe": text { $0 },
    "escape": text { Jinja.escaped($0) },
    "e": text { Jinja.escaped($0) },
    "forceescape": text { Jinja.escaped($0) },
    "urlencode": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      guard !([.dictionary, .list].contains(Kind(value))) else {
        throw run.unsupported("urlencode of a \(value.typeName)")
      }
      return try run.value(Jinja.percentEncoded(try run.text(of: value)))
    },
    "wordcount": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      return .integer(Jinja.wordCount(try run.text(of: value)))
    },
    "trim": { run, value, given throws(Problem) in
      let set = try run.optionalString(try run.bind(given, ["chars"])[0])
      return try run.value(Jinja.Text.strip(try run.text(of: value), set))
    },
    "replace": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["old", "new", "count"], required: 2)
      let (old, new) = (try run.text(of: bound[0] ?? .none), try run.text(of: bound[1] ?? .none))
      let count = try run.optionalInteger(bound[2]) ?? -1
      return try run.replaced(try run.text(of: value), old, new, count: count)
    },
    "center": { run, value, given throws(Problem) in
      let width = try run.integer(try run.bind(given, ["width"])[0], 80)
      return try run.padded(try run.text(of: value), to: width, fill: " ", .center)
    },
    "indent": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["width", "first", "blank"])
      return try run.indented(
        try run.string(value), by: bound[0] ?? .integer(4), first: bound[1]?.isTrue ?? false,
        blank: bound[2]?.isTrue ?? false)
    },
    "truncate": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["length", "killwords", "end", "leeway"])
      return try run.truncated(
        value, to: try run.integer(bound[0], 255), cutsWords: bound[1]?.isTrue ?? false,
        end: try run.string(bound[2], "..."), leeway: try run.optionalInteger(bound[3]) ?? 5)
    },
    "format": { run, value, given throws(Problem) in
      let format = try run.text(of: value)
      guard given.named.isEmpty || given.positional.isEmpty else {
        throw run.failure("'format' takes positional or named arguments, not both")
      }
      let values =
        given.named.isEmpty
        ? Value.tuple(try run.elements(given.positional))
        : .dictionary(try run.dictionary(given.named.map { (.string($0.name), $0.value) }))
      return try run.value(try run.formatted(format, percent: values))
    },
    "tojson": { run, value, given throws(Problem) in try run.json(value, given) },
  ]

  private enum Kind {
    case dictionary, list, other
    init(_ value: Value) {
      switch value {
      case .dictionary: self = .dictionary
      case .list, .tuple, .view, .iterator: self = .list
      default: self = .other
      }
    }
  }

  /// A filter without arguments that turns one text into another.
  private static func text(_ transform: @escaping @Sendable (String) -> String) -> FilterFunction {
    { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      return try run.value(transform(try run.text(of: value)))
    }
  }

  func replaced(_ text: String, _ old: String, _ new: String, count: Int) throws(Problem) -> Value {
    let limit = count < 0 ? Int.max : count
    let places = min(limit, Jinja.Text.count(old, in: text))
    let (grown, overflow) = places.multipliedReportingOverflow(by: new.utf8.count)
    try admit(textBytes: overflow ? Int.max : text.utf8.count + grown)
    return .string(Jinja.Text.replace(text, old, by: new, limit: limit))
  }

  enum Alignment { case left, right, center }

  func padded(_ text: String, to width: Int, fill: Character, _ alignment: Alignment) throws(Problem) -> Value {
    let missing = width.subtractingReportingOverflow(Jinja.Text.count(text)).partialValue
    guard missing > 0 else { return .string(text) }
    try admit(textBytes: text.utf8.count + missing)
    let left: Int
    switch alignment {
    case .left: left = 0
    case .right: left = missing
    // The odd one goes where CPython puts it.
    case .center: left = missing / 2 + (missing & width & 1)
    }
    return .string(Jinja.Text.padded(text, to: width, with: fill, left: left, right: missing - left))
  }

  private func indented(_ text: String, by width: Value, first: Bool, blank: Bool) throws(Problem) -> Value {
    let indent: String
    if let text = width.string {
      indent = text
    } else {
      let width = max(0, try integer(width, 4))
      try admit(textBytes: width)
      indent = String(repeating: " ", count: width)
    }
    let lines = Jinja.Text.lines(text + "\n")
    let (added, overflow) = (lines.count + 1).multipliedReportingOverflow(by: indent.utf8.count)
    try admit(textBytes: overflow ? Int.max : text.utf8.count + added)
    var result = first ? indent : ""
    for (index, line) in lines.enumerated() {
      if index > 0 { result += "\n" }
      if index > 0, blank || !line.isEmpty { result += indent }
      result += line
    }
    return .string(result)
  }

  private func truncated(
    _ value: Value, to length: Int, cutsWords: Bool, end: String, leeway: Int
  ) throws(Problem) -> Value {
    if value.isUndefined { return value }
    let scalars = Array(try string(value).unicodeScalars)
    let room = length - Jinja.Text.count(end)
    guard room >= 0, leeway >= 0 else { throw failure("'truncate' needs a length of at least that of its end") }
    if scalars.count - leeway <= length { return value }
    var kept = Array(scalars[..<room])
    if !cutsWords, let space = kept.lastIndex(of: " ") { kept = Array(kept[..<space]) }
    return try self.value(Jinja.Text.string(kept) + end)
  }

  private func json(_ value: Value, _ given: CallArguments) throws(Problem) -> Value {
    let bound = try bind(given, ["ensure_ascii", "indent", "separators", "sort_keys"])
    var writer = Jinja.JSONWriter()
    writer.ensureASCII = bound[0]?.isTrue ?? false
    writer.sortKeys = bound[3]?.isTrue ?? false
    if let width = bound[1]?.integer {
      guard width <= 100 else { throw limit("an indent of more than 100 spaces") }
      writer.indent = String(repeating: " ", count: max(0, width))
    } else {
      writer.indent = try optionalString(bound[1])
    }
    if writer.indent != nil { writer.itemSeparator = "," }
    if let separators = bound[2], case .undefined = separators {
      throw failure("expected separators")
    } else if let separators = bound[2], separators.typeName != "NoneType" {
      let pair = try elements(of: separators)
      guard pair.count == 2 else { throw failure("'separators' are two") }
      writer.itemSeparator = try string(pair[0])
      writer.keySeparator = try string(pair[1])
    }
    let size = value.size
    try spend(size.count)
    try admit(textBytes: size.count.multipliedReportingOverflow(by: 1 + (writer.indent?.utf8.count ?? 0)).partialValue)
    let (text, unwritable) = writer.text(value)
    if let unwritable { throw failure("a \(unwritable) cannot be written as JSON") }
    return try self.value(text)
  }

  // MARK: Numbers

  private static let numberFilters: [String: FilterFunction] = [
    "abs": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      if case .float(let number) = value { return .float(number.magnitude) }
      guard let number = value.integer else { throw run.failure("a \(value.typeName) has no absolute value") }
      return number < 0 ? try run.negated(.integer(number)) : .integer(number)
    },
    "int": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["default", "base"])
      return try run.integer(from: value, base: try run.integer(bound[1], 10)) ?? bound[0] ?? .integer(0)
    },
    "float": { run, value, given throws(Problem) in
      let fallback = try run.bind(given, ["default"])[0] ?? .float(0)
      if case .undefined(let message) = value { throw run.failure(message) }
      return (value.number ?? value.string.flatMap(Jinja.float)).map { .float($0) } ?? fallback
    },
    "round": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["precision", "method"])
      return try run.rounded(value, try run.integer(bound[0], 0), try run.string(bound[1], "common"))
    },
  ]

  private func integer(from value: Value, base: Int) throws(Problem) -> Value? {
    switch value {
    case .undefined(let message): throw failure(message)
    case .large: return value
    case .string(let text):
      guard base == 0 || (2...36).contains(base) else { throw failure("there is no base \(base)") }
      if let value = Jinja.integer(text, base: base) { return value }
      return Jinja.float(text).flatMap(truncated)
    case .float(let number): return truncated(number)
    default: return value.integer.map { .integer($0) }
    }
  }

  private func truncated(_ number: Double) -> Value? {
    guard number.isFinite else { return nil }
    return Int(exactly: number.rounded(.towardZero)).map { .integer($0) }
      ?? .large(formatted(number.rounded(.towardZero), "f", precision: 0))
  }

  private func rounded(_ value: Value, _ precision: Int, _ method: String) throws(Problem) -> Value {
    if value.number == nil { throw failure("a \(value.typeName) cannot be rounded") }
    guard method == "common" else {
      guard method == "ceil" || method == "floor" else { throw failure("there is no rounding '\(method)'") }
      let scale = try apply(.power, .integer(10), .integer(precision)).number ?? 1
      let scaled = (value.number ?? 0) * scale
      return .float((method == "ceil" ? scaled.rounded(.up) : scaled.rounded(.down)) / scale)
    }
    if case .float(let number) = value { return .float(rounded(number, precision)) }
    guard precision < 0, let number = value.integer else { return value.integer.map { .integer($0) } ?? value }
    guard precision > -19, let unit = try apply(.power, .integer(10), .integer(-precision)).integer else {
      return .integer(0)
    }
    let (quotient, remainder) = number.quotientAndRemainder(dividingBy: unit)
    let twice = remainder.magnitude * 2
    let away = twice > unit.magnitude || (twice == unit.magnitude && quotient % 2 != 0)
    return try apply(.multiply, .integer(away ? quotient + (number < 0 ? -1 : 1) : quotient), .integer(unit))
  }

  /// Python's `round`: the nearest of the decimals, halves to the even one, by the exact value of the float.
  private func rounded(_ number: Double, _ precision: Int) -> Double {
    guard number.isFinite, precision < 324 else { return number }
    if precision < -308 { return number.sign == .minus ? -0.0 : 0 }
    if precision >= 0 { return Double(formatted(number, "f", precision: precision)) ?? number }
    let unit = Double("1e\(-precision)") ?? 1
    return (number / unit).rounded(.toNearestOrEven) * unit
  }
}

extension Jinja {
  /// The filter `title`: what follows white space, a dash or an opening bracket begins a word.
  static func titleOfWords(_ text: String) -> String {
    var out = ""
    var word = String.UnicodeScalarView()
    func close() {
      if let first = word.first { out += first.properties.uppercaseMapping + Text.lower(String(word.dropFirst())) }
      word.removeAll()
    }
    for scalar in text.unicodeScalars {
      switch scalar {
      case "-", "(", "{", "[", "<":
        close()
        out.unicodeScalars.append(scalar)
      case let scalar where Text.isSpace(scalar):
        close()
        out.unicodeScalars.append(scalar)
      default: word.append(scalar)
      }
    }
    close()
    return out
  }

  static func escaped(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "'": out += "&#39;"
      case "\"": out += "&#34;"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }

  static func percentEncoded(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"),
        UInt8(ascii: "~"), UInt8(ascii: "/"):
        out.unicodeScalars.append(Unicode.Scalar(byte))
      default: out += "%" + Text.upper(hexadecimal(UInt32(byte), 2))
      }
    }
    return out
  }

  /// Runs of letters, digits and underscores.
  static func wordCount(_ text: String) -> Int {
    var count = 0
    var inside = false
    for scalar in text.unicodeScalars {
      let isWord = scalar == "_" || Text.isLetter(scalar) || Text.isNumeric(scalar)
      if isWord, !inside { count += 1 }
      inside = isWord
    }
    return count
  }

  /// Python's `int(text, base)`; nil if the text is no integer.
  static func integer(_ text: String, base: Int) -> Value? {
    var digits = Text.strip(text, nil)[...]
    let negative = digits.hasPrefix("-")
    if negative || digits.hasPrefix("+") { digits = digits.dropFirst() }
    var base = base
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)]
    where (base == 0 || base == radix) && digits.lowercased().hasPrefix(prefix) {
      base = radix
      digits = digits.dropFirst(2)
      if digits.hasPrefix("_") { digits = digits.dropFirst() }
    }
    if base == 0 { base = digits.hasPrefix("0") && digits.contains { $0 != "0" && $0 != "_" } ? 1 : 10 }
    guard base > 1 else { return nil }
    let parts = digits.split(separator: "_", omittingEmptySubsequences: false)
    guard !parts.contains(where: \.isEmpty) else { return nil }
    let plain = parts.joined()
    guard plain.utf8.allSatisfy({ Character(UnicodeScalar($0)).isASCII && $0 < 0x80 }),
      plain.allSatisfy({ $0.isHexDigit || $0.isLetter })
    else { return nil }
    if let value = Int((negative ? "-" : "") + plain, radix: base) { return .integer(value) }
    guard base == 10, plain.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    let significant = plain.drop { $0 == "0" }
    return .large((negative ? "-" : "") + significant)
  }

  /// Python's `float(text)`.
  static func float(_ text: String) -> Double? {
    let stripped = Text.strip(text, nil)
    let parts = stripped.split(separator: "_", omittingEmptySubsequences: false)
    let separated =
      parts.dropFirst().allSatisfy { $0.first?.isNumber == true }
      && parts.dropLast().allSatisfy { $0.last?.isNumber == true }
    guard separated, !stripped.isEmpty else { return nil }
    let plain = parts.joined()
    // Swift reads hexadecimal floats and payloads of NaN too.
    switch plain.lowercased() {
    case "inf", "+inf", "infinity", "+infinity": return .infinity
    case "-inf", "-infinity": return -.infinity
    case "nan", "+nan", "-nan": return .nan
    default:
      let allowed = plain.utf8.allSatisfy {
        (0x30...0x39).contains($0)
          || [UInt8(ascii: "."), 0x2B, 0x2D, UInt8(ascii: "e"), UInt8(ascii: "E")].contains($0)
      }
      return allowed ? Double(plain) : nil
    }
  }
}
