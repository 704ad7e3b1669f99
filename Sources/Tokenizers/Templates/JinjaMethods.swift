internal import EspalierBasics

// Methods of values: `text.strip()`, `dictionary.get(key)`. Those that would change a value are not there, as in
// Jinja's immutable sandbox.
extension Jinja.Interpreter {
  private static let changing: Set<String> = [
    "clear", "pop", "popitem", "setdefault", "update", "append", "extend", "insert", "remove", "reverse", "sort",
  ]
  private static let ofDictionaries: Set<String> = ["get", "keys", "values", "items", "copy", "fromkeys"]
  private static let ofDictionariesChanging: Set<String> = ["clear", "pop", "popitem", "setdefault", "update"]
  private static let ofLists: Set<String> = ["count", "index", "copy"]
  private static let ofListsChanging: Set<String> = [
    "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove",
  ]

  /// The method of a value, or nil if values of its kind have none of this name.
  func method(_ name: String, of value: Value) -> Value? {
    let known: Bool
    switch value {
    case .string: known = Self.stringMethods[name] != nil || Self.unsupportedStringMethods.contains(name)
    case .dictionary:
      if Self.ofDictionariesChanging.contains(name) { return unsafe(name, value) }
      known = Self.ofDictionaries.contains(name)
    case .list:
      if Self.ofListsChanging.contains(name) { return unsafe(name, value) }
      known = Self.ofLists.contains(name)
    case .tuple: known = name == "count" || name == "index"
    case .view(let view):
      if case .range = view.kind { known = name == "count" || name == "index" } else { known = false }
    case .float: known = name == "is_integer"
    default: known = false
    }
    return known ? .method(Jinja.Method(receiver: value, name: name)) : nil
  }

  private func unsafe(_ name: String, _ value: Value) -> Value {
    .undefined("'\(name)' would change a \(value.typeName), which a chat template must not")
  }

  func call(_ method: Jinja.Method, _ given: CallArguments) throws(Problem) -> Value {
    switch method.receiver {
    case .string(let text):
      guard let function = Self.stringMethods[method.name] else {
        throw unsupported("the method '\(method.name)' of str")
      }
      try spend(text.utf8.count / 64)
      return try function(self, text, given)
    case .dictionary(let dictionary): return try call(method.name, of: dictionary, given)
    case .list(let elements), .tuple(let elements):
      return try call(method.name, of: elements.values, method.receiver, given)
    case .view(let view): return try call(method.name, of: view.elements.values, method.receiver, given)
    case .float(let number):
      _ = try bind(given, to: method.name, [])
      return .boolean(number.isFinite && number == number.rounded())
    case .loop(let loop): return try call(method.name, of: loop, given)
    default: throw failure("a \(method.receiver.typeName) has no method '\(method.name)'")
    }
  }

  private func call(_ name: String, of dictionary: Jinja.Dictionary, _ given: CallArguments) throws(Problem) -> Value {
    switch name {
    case "get":
      guard given.named.isEmpty else { throw failure("'get' takes no keyword arguments") }
      let bound = try bind(given, to: name, ["key", "default"], required: 1)
      guard let key = (bound[0] ?? .none).key else { throw failure("the key cannot be one of a dictionary") }
      return dictionary[key] ?? bound[1] ?? .none
    case "fromkeys":
      let bound = try bind(given, to: name, ["iterable", "value"], required: 1)
      let value = bound[1] ?? .none
      return .dictionary(try self.dictionary(try elements(of: bound[0] ?? .none).map { ($0, value) }))
    case "keys":
      _ = try bind(given, to: name, [])
      return .view(Jinja.View(kind: .keys, elements: try elements(dictionary.keys)))
    case "values":
      _ = try bind(given, to: name, [])
      return .view(Jinja.View(kind: .values, elements: try elements(dictionary.values)))
    case "items":
      _ = try bind(given, to: name, [])
      return .view(Jinja.View(kind: .items, elements: try pairs(dictionary)))
    default:
      _ = try bind(given, to: name, [])
      return .dictionary(dictionary)
    }
  }

  private func call(
    _ name: String, of values: [Value], _ receiver: Value, _ given: CallArguments
  ) throws(Problem) -> Value {
    if name == "copy" {
      _ = try bind(given, to: name, [])
      return receiver
    }
    let item = try bind(given, to: name, ["value"], required: 1)[0] ?? .none
    var count = 0
    for (index, value) in values.enumerated() where try isEqual(value, item) {
      if name == "index" { return .integer(index) }
      count += 1
    }
    guard name == "count" else { throw failure("\(item.representation) is not in the \(receiver.typeName)") }
    return .integer(count)
  }

  private func call(_ name: String, of loop: Jinja.LoopState, _ given: CallArguments) throws(Problem) -> Value {
    if name == "cycle" {
      guard !given.positional.isEmpty else { throw failure("'cycle' needs values") }
      return given.positional[loop.index % given.positional.count]
    }
    let values = given.positional
    var same = loop.lastChanged?.count == values.count
    for (a, b) in zip(loop.lastChanged ?? [], values) where same { same = try isEqual(a, b) }
    for value in values { try admit(value.size, elements: 1) }
    loop.lastChanged = values
    return .boolean(!same)
  }

  // MARK: Methods of strings

  private typealias StringMethod = @Sendable (Jinja.Interpreter, String, CallArguments) throws(Problem) -> Value

  private static let unsupportedStringMethods: Set<String> = ["encode", "maketrans", "translate", "expandtabs"]

  private static let stringMethods: [String: StringMethod] = [
    "lower": text { Jinja.Text.lower($0) },
    "upper": text { Jinja.Text.upper($0) },
    "casefold": text { Jinja.Text.lower(Jinja.Text.upper($0)) },
    "title": text { Jinja.Text.title($0) },
    "capitalize": text { Jinja.Text.capitalize($0) },
    "swapcase": text { Jinja.Text.swapCase($0) },
    "strip": stripping(.both), "lstrip": stripping(.left), "rstrip": stripping(.right),
    "split": splitting(fromRight: false), "rsplit": splitting(fromRight: true),
    "partition": partition(last: false), "rpartition": partition(last: true),
    "splitlines": { run, text, given throws(Problem) in
      let keep = try run.bind(given, to: "splitlines", ["keepends"])[0]?.isTrue ?? false
      return try run.list(Jinja.Text.lines(text, keepEnds: keep).map { .string($0) })
    },
    "startswith": affix { text, affix in text.starts(with: affix) },
    "endswith": affix { text, affix in text.suffix(affix.count).elementsEqual(affix) },
    "removeprefix": { run, text, given throws(Problem) in
      let prefix = try run.string(try run.bind(given, to: "removeprefix", ["prefix"], required: 1)[0])
      guard text.utf8.starts(with: prefix.utf8) else { return .string(text) }
      return .string(Jinja.Text.string(text.utf8.dropFirst(prefix.utf8.count)))
    },
    "removesuffix": { run, text, given throws(Problem) in
      let suffix = try run.string(try run.bind(given, to: "removesuffix", ["suffix"], required: 1)[0])
      guard text.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8) else { return .string(text) }
      return .string(Jinja.Text.string(text.utf8.dropLast(suffix.utf8.count)))
    },
    "replace": { run, text, given throws(Problem) in
      let bound = try run.bind(given, to: "replace", ["old", "new", "count"], required: 2)
      return try run.replaced(
        text, try run.string(bound[0]), try run.string(bound[1]), count: try run.integer(bound[2], -1))
    },
    "join": { run, text, given throws(Problem) in
      let values = try run.elements(of: try run.bind(given, to: "join", ["iterable"], required: 1)[0] ?? .none)
      for value in values where value.string == nil {
        throw run.failure("'join' joins texts, not a \(value.typeName)")
      }
      return try run.joined(values, text)
    },
    "find": { run, text, given throws(Problem) in .integer(try run.find(given, in: text, last: false) ?? -1) },
    "rfind": { run, text, given throws(Problem) in .integer(try run.find(given, in: text, last: true) ?? -1) },
    "index": { run, text, given throws(Problem) in
      guard let index = try run.find(given, in: text, last: false) else { throw run.failure("substring not found") }
      return .integer(index)
    },
    "rindex": { run, text, given throws(Problem) in
      guard let index = try run.find(given, in: text, last: true) else { throw run.failure("substring not found") }
      return .integer(index)
    },
    "count": { run, text, given throws(Problem) in
      let bound = try run.bind(given, to: "count", ["sub", "start", "end"], required: 1)
      guard let (part, _) = try run.part(of: text, bound) else { return .integer(0) }
      return .integer(Jinja.Text.count(try run.string(bound[0]), in: part))
    },
    "center": padding(.center), "ljust": padding(.left), "rjust": padding(.right),
    "zfill": { run, text, given throws(Problem) in
      let width = try run.integer(try run.bind(given, to: "zfill", ["width"], required: 1)[0], 0)
      let signed = text.hasPrefix("-") || text.hasPrefix("+")
      let sign = signed ? String(text.prefix(1)) : ""
      let padded = try run.padded(String(text.dropFirst(sign.count)), to: width - sign.count, fill: "0", .right)
      return .string(sign + (padded.string ?? ""))
    },
    "format": { run, text, given throws(Problem) in try run.value(try run.formatted(text, braces: given)) },
    "format_map": { run, text, given throws(Problem) in
      guard case .dictionary(let mapping)? = try run.bind(given, to: "format_map", ["mapping"], required: 1)[0] else {
        throw run.failure("'format_map' needs a dictionary")
      }
      let named = zip(mapping.keys, mapping.values).compactMap { key, value in key.string.map { ($0, value) } }
      return try run.value(try run.formatted(text, braces: CallArguments(positional: [], named: named)))
    },
    "isspace": all { Jinja.Text.isSpace($0) },
    "isalpha": all { Jinja.Text.isLetter($0) },
    "isdigit": all { Jinja.Text.isDigit($0) },
    "isdecimal": all { Jinja.Text.isDecimal($0) },
    "isnumeric": all { Jinja.Text.isNumeric($0) },
    "isalnum": all { Jinja.Text.isLetter($0) || Jinja.Text.isNumeric($0) },
    "isascii": all(empty: true) { $0.isASCII },
    "isprintable": all(empty: true) { Jinja.isPrintable($0) },
    "islower": { run, text, given throws(Problem) in
      _ = try run.bind(given, to: "islower", [])
      return .boolean(Jinja.Text.isAll(lower: true, text))
    },
    "isupper": { run, text, given throws(Problem) in
      _ = try run.bind(given, to: "isupper", [])
      return .boolean(Jinja.Text.isAll(lower: false, text))
    },
    "istitle": { run, text, given throws(Problem) in
      _ = try run.bind(given, to: "istitle", [])
      return .boolean(
        text.unicodeScalars.contains(where: Jinja.Text.isCased) && Jinja.Text.isEqual(Jinja.Text.title(text), text))
    },
    "isidentifier": { run, text, given throws(Problem) in
      _ = try run.bind(given, to: "isidentifier", [])
      let scalars = text.unicodeScalars
      let begins = scalars.first.map { $0 == "_" || $0.properties.isXIDStart } ?? false
      return .boolean(begins && scalars.dropFirst().allSatisfy { $0.properties.isXIDContinue })
    },
  ]

  private static func text(_ transform: @escaping @Sendable (String) -> String) -> StringMethod {
    { run, text, given throws(Problem) in
      _ = try run.bind(given, to: "method", [])
      return try run.value(transform(text))
    }
  }

  private static func all(
    empty: Bool = false, _ holds: @escaping @Sendable (Unicode.Scalar) -> Bool
  ) -> StringMethod {
    { run, text, given throws(Problem) in
      _ = try run.bind(given, to: "method", [])
      return .boolean(text.isEmpty ? empty : text.unicodeScalars.allSatisfy(holds))
    }
  }

  private static func stripping(_ ends: Jinja.Text.Ends) -> StringMethod {
    { run, text, given throws(Problem) in
      let set = try run.optionalString(try run.bind(given, to: "strip", ["chars"])[0])
      return .string(Jinja.Text.strip(text, set, ends))
    }
  }

  private static func splitting(fromRight: Bool) -> StringMethod {
    { run, text, given throws(Problem) in
      let bound = try run.bind(given, to: "split", ["sep", "maxsplit"])
      let limit = try run.integer(bound[1], -1)
      let most = limit < 0 ? Int.max : limit
      guard let separator = try run.optionalString(bound[0]) else {
        return try run.list(Jinja.Text.words(text, limit: most, fromRight: fromRight).map { .string($0) })
      }
      guard !separator.isEmpty else { throw run.failure("the separator is empty") }
      return try run.list(
        Jinja.Text.split(text, by: separator, limit: most, fromRight: fromRight).map { .string($0) })
    }
  }

  private static func partition(last: Bool) -> StringMethod {
    { run, text, given throws(Problem) in
      let separator = try run.string(try run.bind(given, to: "partition", ["sep"], required: 1)[0])
      guard !separator.isEmpty else { throw run.failure("the separator is empty") }
      let parts = Jinja.Text.split(text, by: separator, limit: 1, fromRight: last)
      let result = parts.count == 2 ? [parts[0], separator, parts[1]] : last ? ["", "", text] : [text, "", ""]
      return .tuple(try run.elements(result.map { .string($0) }))
    }
  }

  private static func padding(_ alignment: Alignment) -> StringMethod {
    { run, text, given throws(Problem) in
      let bound = try run.bind(given, to: "padding", ["width", "fillchar"], required: 1)
      let fill = try run.string(bound[1], " ").unicodeScalars
      guard let only = fill.first, fill.count == 1 else { throw run.failure("the fill must be one character") }
      return try run.padded(text, to: try run.integer(bound[0], 0), fill: Character(only), alignment)
    }
  }

  /// `startswith` and `endswith`: one text or a tuple of them, within a part of the text.
  private static func affix(
    _ matches: @escaping @Sendable (ArraySlice<UInt8>, ArraySlice<UInt8>) -> Bool
  ) -> StringMethod {
    { run, text, given throws(Problem) in
      let bound = try run.bind(given, to: "affix", ["affix", "start", "end"], required: 1)
      let affixes: [Value]
      if case .tuple(let elements)? = bound[0] { affixes = elements.values } else { affixes = [bound[0] ?? .none] }
      let part = try run.part(of: text, bound).map { Array($0.text.utf8) }
      for affix in affixes {
        let affix = Array(try run.string(affix).utf8)
        if let part, matches(part[...], affix[...]) { return .boolean(true) }
      }
      return .boolean(false)
    }
  }

  /// The part of a text between the second and third arguments; nil if it would begin beyond the end.
  private func part(of text: String, _ bound: [Value?]) throws(Problem) -> (text: String, start: Int)? {
    let (start, end) = (try optionalInteger(bound[1]), try optionalInteger(bound[2]))
    if start == nil, end == nil { return (text, 0) }
    let scalars = Array(text.unicodeScalars)
    func position(_ bound: Int) -> Int { bound < 0 ? max(0, bound &+ scalars.count) : bound }
    let (from, to) = (start.map(position) ?? 0, min(end.map(position) ?? scalars.count, scalars.count))
    guard from <= to else { return nil }
    return (Jinja.Text.string(scalars[from..<to]), from)
  }

  private func find(_ given: CallArguments, in text: String, last: Bool) throws(Problem) -> Int? {
    let bound = try bind(given, to: "find", ["sub", "start", "end"], required: 1)
    let sought = try string(bound[0])
    guard let (part, start) = try part(of: text, bound) else { return nil }
    return Jinja.Text.find(part, sought, last: last).map { $0 + start }
  }
}
