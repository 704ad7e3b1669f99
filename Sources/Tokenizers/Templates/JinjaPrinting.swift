internal import EspalierBasics

// How Python prints values: `str`, `repr`, and `json.dumps`.
extension Jinja.Value {
  /// Python's `str(value)`: what `{{ value }}` writes.
  var text: String {
    switch self {
    case .undefined: ""
    case .string(let text): text
    default: representation
    }
  }

  /// Python's `repr(value)`.
  var representation: String {
    var out = ""
    represent(into: &out)
    return out
  }

  private func represent(into out: inout String) {
    switch self {
    case .undefined: out += "Undefined"
    case .none: out += "None"
    case .boolean(let value): out += value ? "True" : "False"
    case .integer(let value): out += String(value)
    case .large(let digits): out += digits
    case .float(let value): out += Jinja.text(of: value)
    case .string(let text): Jinja.quote(text, into: &out)
    case .list(let elements): Self.represent(elements.values, "[", "]", into: &out)
    case .tuple(let elements):
      Self.represent(elements.values, "(", elements.values.count == 1 ? ",)" : ")", into: &out)
    case .view(let view): Self.represent(view, as: typeName, into: &out)
    case .dictionary(let dictionary):
      out += "{"
      for (index, key) in dictionary.keys.enumerated() {
        if index > 0 { out += ", " }
        key.represent(into: &out)
        out += ": "
        dictionary.values[index].represent(into: &out)
      }
      out += "}"
    case .namespace(let namespace):
      out += "<Namespace "
      Self.dictionary(namespace.members).represent(into: &out)
      out += ">"
    case .loop(let loop): out += "<LoopContext \(loop.index + 1)/\(loop.items.count)>"
    case .macro(let closure):
      out += "<Macro "
      Jinja.quote(closure.macro.name, into: &out)
      out += ">"
    // Python adds addresses here, which no template can mean to show.
    case .iterator: out += "<generator object>"
    case .method(let method): out += "<built-in method \(method.name) of \(method.receiver.typeName) object>"
    case .function(let function): out += "<function \(function.rawValue)>"
    }
  }

  private static func represent(_ values: [Self], _ open: String, _ close: String, into out: inout String) {
    out += open
    for (index, value) in values.enumerated() {
      if index > 0 { out += ", " }
      value.represent(into: &out)
    }
    out += close
  }

  private static func represent(_ view: Jinja.View, as name: String, into out: inout String) {
    if case .range(let start, let stop, let step) = view.kind {
      out += "range(\(start), \(stop)\(step == 1 ? "" : ", \(step)"))"
    } else {
      represent(view.elements.values, name + "([", "])", into: &out)
    }
  }
}

extension Jinja {
  /// Python's text of a float: the shortest digits that read back, as a plain fraction from 1e-4 up to 1e16.
  static func text(of value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    let sign = value.sign == .minus ? "-" : ""
    if value == 0 { return sign + "0.0" }
    let (digits, exponent) = shortestDigits(value.magnitude)
    if exponent < -4 || exponent >= 16 {
      let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
      let size = String(exponent.magnitude)
      return sign + digits.prefix(1) + fraction + (exponent < 0 ? "e-" : "e+") + (size.count < 2 ? "0" + size : size)
    }
    if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
    if digits.count <= exponent + 1 {
      return sign + digits + String(repeating: "0", count: exponent + 1 - digits.count) + ".0"
    }
    return sign + digits.prefix(exponent + 1) + "." + digits.dropFirst(exponent + 1)
  }

  /// The shortest decimal digits, and the power of ten of the first, of a positive number.
  private static func shortestDigits(_ value: Double) -> (String, Int) {
    var (digits, point, exponent) = ("", nil as Int?, 0)
    for (index, character) in value.description.enumerated() {
      if character == "." {
        point = digits.count
      } else if character == "e" {
        exponent = Int(value.description.dropFirst(index + 1)) ?? 0
        break
      } else {
        digits.append(character)
      }
    }
    exponent += (point ?? digits.count) - 1
    let zeros = digits.prefix { $0 == "0" }.count
    digits.removeFirst(zeros)
    while digits.last == "0" { digits.removeLast() }
    return (digits, exponent - zeros)
  }

  /// Python's `repr` of a string: single quotes unless only they occur in it.
  static func quote(_ text: String, into out: inout String) {
    let scalars = text.unicodeScalars
    let quote: Unicode.Scalar = scalars.contains("'") && !scalars.contains("\"") ? "\"" : "'"
    out.unicodeScalars.append(quote)
    for scalar in scalars {
      switch scalar {
      case quote, "\\":
        out += "\\"
        out.unicodeScalars.append(scalar)
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case let scalar where isPrintable(scalar): out.unicodeScalars.append(scalar)
      default:
        let value = scalar.value
        out +=
          value < 0x100
          ? "\\x" + hexadecimal(value, 2)
          : value < 0x10000
            ? "\\u" + hexadecimal(value, 4)
            : "\\U" + hexadecimal(value, 8)
      }
    }
    out.unicodeScalars.append(quote)
  }

  static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    if scalar == " " { return true }
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
      .spaceSeparator:
      return false
    default: return true
    }
  }

  static func hexadecimal(_ value: UInt32, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}

// MARK: - tojson

extension Jinja {
  /// `json.dumps` with the settings that transformers lets a template choose.
  struct JSONWriter {
    var ensureASCII = false
    /// What a level is indented by; nil writes everything on one line.
    var indent: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortKeys = false

    /// The text of a value, or what kind of value in it JSON has not.
    func text(_ value: Value) -> (text: String, unwritable: String?) {
      var out = ""
      let unwritable = write(value, level: 0, into: &out)
      return (out, unwritable)
    }

    private func write(_ value: Value, level: Int, into out: inout String) -> String? {
      switch value {
      case .none: out += "null"
      case .boolean(let flag): out += flag ? "true" : "false"
      case .integer(let number): out += String(number)
      case .large(let digits): out += digits
      case .float(let number): out += Self.text(of: number)
      case .string(let text): quote(text, into: &out)
      case .list(let elements), .tuple(let elements):
        return write("[", "]", count: elements.values.count, level: level, into: &out) { index, out in
          write(elements.values[index], level: level + 1, into: &out)
        }
      case .dictionary(let dictionary):
        let order: [Int]
        if sortKeys {
          guard dictionary.keys.allSatisfy({ $0.string != nil }) else { return "dict with unlike keys to sort" }
          order = dictionary.keys.indices.sorted {
            Text.isLess(dictionary.keys[$0].string ?? "", dictionary.keys[$1].string ?? "")
          }
        } else {
          order = Array(dictionary.keys.indices)
        }
        return write("{", "}", count: order.count, level: level, into: &out) { index, out in
          guard let key = Self.key(dictionary.keys[order[index]]) else {
            return "dict with keys of type \(dictionary.keys[order[index]].typeName)"
          }
          quote(key, into: &out)
          out += keySeparator
          return write(dictionary.values[order[index]], level: level + 1, into: &out)
        }
      default: return value.typeName
      }
      return nil
    }

    private func write(
      _ open: String, _ close: String, count: Int, level: Int, into out: inout String,
      item: (Int, inout String) -> String?
    ) -> String? {
      out += open
      for index in 0..<count {
        if index > 0 { out += itemSeparator }
        breakLine(level: level + 1, into: &out)
        if let unwritable = item(index, &out) { return unwritable }
      }
      if count > 0 { breakLine(level: level, into: &out) }
      out += close
      return nil
    }

    private func breakLine(level: Int, into out: inout String) {
      guard let indent else { return }
      out += "\n"
      for _ in 0..<level { out += indent }
    }

    private static func text(of number: Double) -> String {
      number.isNaN ? "NaN" : number.isInfinite ? (number < 0 ? "-Infinity" : "Infinity") : Jinja.text(of: number)
    }

    private static func key(_ value: Value) -> String? {
      switch value {
      case .string(let text): text
      case .none: "null"
      case .boolean(let flag): flag ? "true" : "false"
      case .integer(let number): String(number)
      case .large(let digits): digits
      case .float(let number): text(of: number)
      default: nil
      }
    }

    private func quote(_ text: String, into out: inout String) {
      out += "\""
      for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case "\u{08}": out += "\\b"
        case "\u{0C}": out += "\\f"
        case let scalar where scalar.value < 0x20 || (ensureASCII && scalar.value > 0x7E):
          for unit in String(Character(scalar)).utf16 { out += "\\u" + hexadecimal(UInt32(unit), 4) }
        default: out.unicodeScalars.append(scalar)
        }
      }
      out += "\""
    }
  }
}
