internal import EspalierBasics

// Python's two ways to format: `"%s" % value` and `"{}".format(value)`.
extension Jinja.Interpreter {
  /// The widest field and the most digits of a format.
  private static var maximumWidth: Int { 10_000 }

  /// A float by C's rules, `conversion` one of `e f g` in either case.
  func formatted(_ number: Double, _ conversion: String, precision: Int, alternate: Bool = false) -> String {
    if !number.isFinite {
      let text = number.isNaN ? "nan" : number < 0 ? "-inf" : "inf"
      return conversion == conversion.uppercased() ? text.uppercased() : text
    }
    return Jinja.CLibrary.text(of: number, "%" + (alternate ? "#" : "") + ".*" + conversion, precision: precision)
  }

  // MARK: Percent

  private struct Conversion {
    var key: String?
    var flags: Set<Unicode.Scalar> = []
    var width = 0
    var precision: Int?
    var kind: Unicode.Scalar = "s"
  }

  /// `format % values`: a tuple's elements in turn, a dictionary's by name, or one value.
  func formatted(_ format: String, percent values: Value) throws(Problem) -> String {
    let scalars = Array(format.unicodeScalars)
    var supply: [Value]
    if case .tuple(let elements) = values { supply = elements.values } else { supply = [values] }
    supply.reverse()
    var usesKeys = false
    var out = String.UnicodeScalarView()
    var bytes = 0
    var index = 0
    while index < scalars.count {
      guard scalars[index] == "%" else {
        out.append(scalars[index])
        index += 1
        continue
      }
      var conversion = Conversion()
      index += 1
      try read(&conversion, scalars, &index) { () throws(Problem) in
        guard let next = supply.popLast() else { throw failure("not enough arguments for the format") }
        return next
      }
      if conversion.kind == "%" {
        out.append("%")
        continue
      }
      let value: Value
      if let key = conversion.key {
        usesKeys = true
        guard case .dictionary(let dictionary) = values else { throw failure("the format needs a dictionary") }
        guard let found = dictionary[key] else { throw failure("the format's key '\(key)' is missing") }
        value = found
      } else {
        guard let next = supply.popLast() else { throw failure("not enough arguments for the format") }
        value = next
      }
      let text = try self.text(of: value, conversion)
      bytes += text.utf8.count
      try admit(textBytes: bytes, fresh: text.utf8.count)
      out.append(contentsOf: text.unicodeScalars)
    }
    if !supply.isEmpty, !usesKeys {
      switch values {
      case .dictionary, .list: break
      default: throw failure("not all arguments are used by the format")
      }
    }
    return String(out)
  }

  private func read(
    _ conversion: inout Conversion, _ scalars: [Unicode.Scalar], _ index: inout Int,
    star: () throws(Problem) -> Value
  ) throws(Problem) {
    func next() -> Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }
    if next() == "(" {
      guard let close = scalars[index...].firstIndex(of: ")") else { throw failure("the format's key is not closed") }
      conversion.key = Jinja.Text.string(scalars[(index + 1)..<close])
      index = close + 1
    }
    while let flag = next(), "-+ #0".unicodeScalars.contains(flag) {
      conversion.flags.insert(flag)
      index += 1
    }
    conversion.width = try count(scalars, &index, star: star) ?? 0
    if conversion.width < 0 {
      conversion.flags.insert("-")
      conversion.width = -conversion.width
    }
    if next() == "." {
      index += 1
      conversion.precision = max(0, try count(scalars, &index, star: star) ?? 0)
    }
    while let size = next(), "hlL".unicodeScalars.contains(size) { index += 1 }
    guard let kind = next() else { throw failure("the format ends within a conversion") }
    conversion.kind = kind
    index += 1
  }

  /// A count, or `*` for the next of the values.
  private func count(
    _ scalars: [Unicode.Scalar], _ index: inout Int, star: () throws(Problem) -> Value
  ) throws(Problem) -> Int? {
    guard index < scalars.count, scalars[index] == "*" else { return try count(scalars, &index) }
    index += 1
    let value = try integer(try star(), 0)
    guard value.magnitude <= Self.maximumWidth else { throw limit("a field wider than \(Self.maximumWidth)") }
    return value
  }

  private func count(_ scalars: [Unicode.Scalar], _ index: inout Int) throws(Problem) -> Int? {
    var result: Int?
    while index < scalars.count, (0x30...0x39).contains(scalars[index].value) {
      let value = (result ?? 0) * 10 + Int(scalars[index].value - 0x30)
      guard value <= Self.maximumWidth else { throw limit("a field wider than \(Self.maximumWidth)") }
      result = value
      index += 1
    }
    return result
  }

  private func text(of value: Value, _ conversion: Conversion) throws(Problem) -> String {
    var spec = Spec()
    spec.width = conversion.width
    spec.align = conversion.flags.contains("-") ? "<" : ">"
    spec.sign = conversion.flags.contains("+") ? "+" : conversion.flags.contains(" ") ? " " : nil
    spec.alternate = conversion.flags.contains("#")
    switch conversion.kind {
    case "s", "r", "a":
      var text = conversion.kind == "s" ? try self.text(of: value) : value.representation
      if let precision = conversion.precision { text = Jinja.Text.string(text.unicodeScalars.prefix(precision)) }
      return pad(text, spec)
    case "c":
      if let text = value.string, Jinja.Text.count(text) == 1 { return pad(text, spec) }
      return pad(try character(value), spec)
    default: break
    }
    if conversion.flags.contains("0"), spec.align == ">" {
      spec.fill = "0"
      spec.align = "="
    }
    guard value.number != nil else {
      throw failure("the format '%\(conversion.kind)' needs a number, not a \(value.typeName)")
    }
    switch conversion.kind {
    case "d", "i", "u":
      spec.kind = "d"
      spec.digits = conversion.precision
      if case .float(let number) = value {
        guard let whole = Int(exactly: number.rounded(.towardZero)) else { throw unsupported("so large an integer") }
        return try number64(whole, spec)
      }
    case "x", "X", "o": (spec.kind, spec.digits) = (conversion.kind, conversion.precision)
    case "e", "E", "f", "F", "g", "G": (spec.kind, spec.precision) = (conversion.kind, conversion.precision)
    default: throw failure("the format has an unknown conversion '\(conversion.kind)'")
    }
    return try numeric(value, spec)
  }

  private func character(_ value: Value) throws(Problem) -> String {
    guard let code = value.integer, let narrow = UInt32(exactly: code), let scalar = Unicode.Scalar(narrow) else {
      throw failure("no character has the code \(value.representation)")
    }
    return String(Character(scalar))
  }

  // MARK: Braces

  /// A format specification: `[[fill]align][sign][#][0][width][,][.precision][kind]`.
  private struct Spec {
    var fill: Unicode.Scalar = " "
    var align: Unicode.Scalar?
    var sign: Unicode.Scalar?
    var alternate = false
    var width = 0
    var group: Unicode.Scalar?
    var precision: Int?
    /// The least digits of an integer.
    var digits: Int?
    var kind: Unicode.Scalar?
  }

  /// `format.format(arguments)`
  func formatted(_ format: String, braces given: CallArguments) throws(Problem) -> String {
    let scalars = Array(format.unicodeScalars)
    var automatic = 0
    return try formatted(scalars, given, &automatic, nested: false)
  }

  private func formatted(
    _ scalars: [Unicode.Scalar], _ given: CallArguments, _ automatic: inout Int, nested: Bool
  ) throws(Problem) -> String {
    var out = String.UnicodeScalarView()
    var bytes = 0
    var index = 0
    while index < scalars.count {
      let scalar = scalars[index]
      index += 1
      guard scalar == "{" || scalar == "}" else {
        out.append(scalar)
        continue
      }
      if index < scalars.count, scalars[index] == scalar {
        out.append(scalar)
        index += 1
        continue
      }
      guard scalar == "{" else { throw failure("the format has a single '}'") }
      // A specification may hold fields of its own.
      var level = 1
      let start = index
      while index < scalars.count, level > 0 {
        level += scalars[index] == "{" ? 1 : scalars[index] == "}" ? -1 : 0
        index += 1
      }
      guard level == 0 else { throw failure("the format has a single '{'") }
      let text = try field(Array(scalars[start..<(index - 1)]), given, &automatic, nested: nested)
      bytes += text.utf8.count
      try admit(textBytes: bytes, fresh: text.utf8.count)
      out.append(contentsOf: text.unicodeScalars)
    }
    return String(out)
  }

  private func field(
    _ scalars: [Unicode.Scalar], _ given: CallArguments, _ automatic: inout Int, nested: Bool
  ) throws(Problem) -> String {
    let end = scalars.firstIndex { $0 == ":" || $0 == "!" } ?? scalars.count
    var value = try named(Array(scalars[..<end]), given, &automatic)
    var index = end
    if index < scalars.count, scalars[index] == "!" {
      guard index + 1 < scalars.count, index + 2 == scalars.count || scalars[index + 2] == ":" else {
        throw failure("the format's conversion is not one letter")
      }
      switch scalars[index + 1] {
      case "s": value = .string(try text(of: value))
      case "r", "a": value = .string(value.representation)
      default: throw failure("the format's conversion is not known")
      }
      index += 2
    }
    var spec = index < scalars.count ? Array(scalars[(index + 1)...]) : []
    if spec.contains("{") {
      guard !nested else { throw failure("the format nests too deep") }
      spec = Array(try formatted(spec, given, &automatic, nested: true).unicodeScalars)
    }
    return try text(of: value, spec: spec)
  }

  /// `0`, `name`, `name.attribute[key]`, or nothing for the next argument.
  private func named(
    _ scalars: [Unicode.Scalar], _ given: CallArguments, _ automatic: inout Int
  ) throws(Problem) -> Value {
    let end = scalars.firstIndex { $0 == "." || $0 == "[" } ?? scalars.count
    let name = Jinja.Text.string(scalars[..<end])
    var value: Value
    if name.isEmpty || Int(name) != nil {
      let position = Int(name) ?? automatic
      if name.isEmpty { automatic += 1 }
      guard given.positional.indices.contains(position) else { throw failure("the format has no argument \(position)") }
      value = given.positional[position]
    } else {
      guard let found = given.named.first(where: { Jinja.Text.isEqual($0.name, name) }) else {
        throw failure("the format has no argument '\(name)'")
      }
      value = found.value
    }
    var index = end
    while index < scalars.count {
      let isKey = scalars[index] == "["
      let stop = scalars[(index + 1)...].firstIndex { isKey ? $0 == "]" : $0 == "." || $0 == "[" }
      guard let stop = stop ?? (isKey ? nil : scalars.count) else { throw failure("the format's key is not closed") }
      let part = Jinja.Text.string(scalars[(index + 1)..<stop])
      value =
        isKey ? try item(Int(part).map { .integer($0) } ?? .string(part), of: value) : try attribute(part, of: value)
      index = isKey ? stop + 1 : stop
    }
    return value
  }

  private func text(of value: Value, spec scalars: [Unicode.Scalar]) throws(Problem) -> String {
    guard !scalars.isEmpty else { return try text(of: value) }
    var spec = try self.spec(scalars)
    if let text = value.string {
      guard spec.kind == nil || spec.kind == "s", spec.sign == nil, spec.align != "=" else {
        throw failure("the format does not fit a str")
      }
      if spec.align == nil { spec.align = "<" }
      return pad(spec.precision.map { Jinja.Text.string(text.unicodeScalars.prefix($0)) } ?? text, spec)
    }
    if case .boolean = value, spec.kind == nil { return try text(of: .string(value.text), spec: scalars) }
    guard value.number != nil else { throw failure("a \(value.typeName) cannot be formatted") }
    return try numeric(value, spec)
  }

  private func spec(_ scalars: [Unicode.Scalar]) throws(Problem) -> Spec {
    var spec = Spec()
    var index = 0
    func next() -> Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }
    func isAlign(_ scalar: Unicode.Scalar) -> Bool { "<>=^".unicodeScalars.contains(scalar) }
    if scalars.count > 1, isAlign(scalars[1]) {
      (spec.fill, spec.align) = (scalars[0], scalars[1])
      index = 2
    } else if let first = next(), isAlign(first) {
      spec.align = first
      index = 1
    }
    if let sign = next(), "+- ".unicodeScalars.contains(sign) {
      spec.sign = sign
      index += 1
    }
    if next() == "#" {
      spec.alternate = true
      index += 1
    }
    if next() == "0" {
      if spec.align == nil { (spec.fill, spec.align) = ("0", "=") }
      index += 1
    }
    spec.width = try count(scalars, &index) ?? 0
    if let group = next(), group == "," || group == "_" {
      spec.group = group
      index += 1
    }
    if next() == "." {
      index += 1
      guard let precision = try count(scalars, &index) else { throw failure("the format's precision is missing") }
      spec.precision = precision
    }
    spec.kind = next()
    guard index + (spec.kind == nil ? 0 : 1) == scalars.count else { throw failure("the format is not well-formed") }
    return spec
  }

  // MARK: Numbers in fields

  private func numeric(_ value: Value, _ spec: Spec) throws(Problem) -> String {
    switch spec.kind {
    case nil where value.integer != nil, "n" where value.integer != nil: return try number64(value.integer ?? 0, spec)
    case "d", "x", "X", "o", "b":
      guard let number = value.integer else { throw failure("the format needs an integer") }
      return try number64(number, spec)
    case "c": return pad(try character(value), spec)
    case "%":
      return signed(formatted((value.number ?? 0) * 100, "f", precision: spec.precision ?? 6) + "%", spec)
    case "e", "E", "f", "F", "g", "G", "n":
      let kind = spec.kind == "n" ? "g" : spec.kind ?? "g"
      return signed(
        formatted(
          value.number ?? 0, String(Character(kind)), precision: spec.precision ?? 6, alternate: spec.alternate), spec)
    case nil:
      guard case .float(let number) = value else { throw unsupported("formatting integers beyond 64 bits") }
      guard let precision = spec.precision else { return signed(Jinja.text(of: number), spec) }
      // Like `g`, but with a fraction where there is room for one.
      let text = formatted(number, "g", precision: max(precision, 1))
      let plain = number.isFinite && !text.utf8.contains { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "e") }
      return signed(plain && text.utf8.count <= precision - 1 ? text + ".0" : text, spec)
    default: throw failure("the format has an unknown kind '\(spec.kind.map(String.init) ?? "")'")
    }
  }

  private func number64(_ number: Int, _ spec: Spec) throws(Problem) -> String {
    let (radix, prefix): (Int, String)
    switch spec.kind {
    case "x": (radix, prefix) = (16, "0x")
    case "X": (radix, prefix) = (16, "0X")
    case "o": (radix, prefix) = (8, "0o")
    case "b": (radix, prefix) = (2, "0b")
    default: (radix, prefix) = (10, "")
    }
    var digits = String(number.magnitude, radix: radix, uppercase: spec.kind == "X")
    if let least = spec.digits, digits.count < least {
      digits = String(repeating: "0", count: least - digits.count) + digits
    }
    return signed((number < 0 ? "-" : "") + digits, spec, prefix: spec.alternate ? prefix : "")
  }

  /// A number's text with its sign, grouped and padded.
  private func signed(_ text: String, _ spec: Spec, prefix: String = "") -> String {
    let negative = text.hasPrefix("-")
    var digits = negative ? String(text.dropFirst()) : text
    if let group = spec.group {
      let whole = digits.prefix { $0.isHexDigit }
      var grouped = ""
      for (index, digit) in whole.enumerated() {
        if index > 0, (whole.count - index) % 3 == 0 { grouped.unicodeScalars.append(group) }
        grouped.append(digit)
      }
      digits = grouped + digits.dropFirst(whole.count)
    }
    let sign = negative ? "-" : spec.sign.map { $0 == "-" ? "" : String(Character($0)) } ?? ""
    guard spec.align == "=" else {
      var spec = spec
      spec.align = spec.align ?? ">"
      return pad(sign + prefix + digits, spec)
    }
    let missing = max(0, spec.width - sign.count - prefix.count - digits.count)
    return sign + prefix + String(repeating: Character(spec.fill), count: missing) + digits
  }

  private func pad(_ text: String, _ spec: Spec) -> String {
    let missing = spec.width - Jinja.Text.count(text)
    guard missing > 0 else { return text }
    let left = spec.align == "<" ? 0 : spec.align == "^" ? missing / 2 : missing
    return Jinja.Text.padded(text, to: spec.width, with: Character(spec.fill), left: left, right: missing - left)
  }
}
