internal import EspalierBasics

extension Jinja {
  /// A value while a template runs; its kinds are Python's.
  enum Value {
    /// What a name or key that is not there gives: it prints as nothing, and any use of it but a question fails with
    /// this message.
    case undefined(String)
    case none
    case boolean(Bool)
    case integer(Int)
    /// An integer beyond 64 bits, by its decimal digits: it prints and compares, but is not computed with.
    case large(String)
    case float(Double)
    case string(String)
    case list(Elements)
    case tuple(Elements)
    /// What `range`, `keys`, `values` and `items` give: a sequence that is no list.
    case view(View)
    case dictionary(Dictionary)
    /// What `map`, `select` and the like give: it can be gone through once.
    case iterator(Iterator)
    case namespace(Namespace)
    case loop(LoopState)
    case macro(Closure)
    case method(Method)
    case function(Function)
  }

  /// The elements of a list or tuple.
  struct Elements {
    let values: [Value]
    let size: Size
  }

  struct View {
    enum Kind {
      case range(start: Int, stop: Int, step: Int)
      case keys, values, items
    }
    let kind: Kind
    let elements: Elements
  }

  /// How deep a value nests and how many values it is made of, each occurrence counted, so that a list that contains
  /// another twice, which contains another twice, cannot take forever to print.
  struct Size {
    static let scalar = Size(depth: 1, count: 1)
    var depth: Int
    var count: Int

    func containing(_ value: Value) -> Size {
      let inner = value.size
      let (count, overflow) = count.addingReportingOverflow(inner.count)
      return Size(depth: max(depth, inner.depth + 1), count: overflow ? Int.max : count)
    }
  }

  /// A dictionary that keeps the order of insertion.
  struct Dictionary {
    private(set) var keys: [Value] = []
    private(set) var values: [Value] = []
    private var index: [Key: Int] = [:]
    private(set) var size = Size.scalar

    var count: Int { keys.count }

    subscript(key: Key) -> Value? { index[key].map { values[$0] } }
    subscript(name: String) -> Value? { self[.string(ExactString(name))] }

    /// Adds an entry, or gives the one that is there another value.
    mutating func set(_ value: Value, for key: Value, hashed: Key) {
      size = size.containing(value).containing(key)
      if let position = index[hashed] {
        values[position] = value
      } else {
        index[hashed] = keys.count
        keys.append(key)
        values.append(value)
      }
    }

    mutating func set(_ value: Value, for name: String) {
      set(value, for: .string(name), hashed: .string(ExactString(name)))
    }
  }

  /// What a dictionary is keyed by: Python's equality, where `1`, `1.0` and `True` are one key.
  indirect enum Key: Hashable {
    case none
    case integer(Int)
    case large(String)
    case float(Double)
    case string(ExactString)
    case tuple([Key])
    case undefined
  }

  final class Iterator {
    private var advance: () throws(Problem) -> Value?
    let size: Size

    init(size: Size, next: @escaping () throws(Problem) -> Value?) {
      self.size = Size(depth: size.depth + 1, count: size.count)
      self.advance = next
    }

    func next() throws(Problem) -> Value? { try advance() }
  }

  /// The one thing a template can change from within loops.
  final class Namespace {
    var members = Dictionary()
  }

  /// A macro with the variables around its definition.
  final class Closure {
    let macro: Macro
    let scope: Scope

    init(macro: Macro, scope: Scope) {
      self.macro = macro
      self.scope = scope
    }
  }

  /// A method of a value, not yet called: `text.strip`.
  final class Method {
    let receiver: Value
    let name: String

    init(receiver: Value, name: String) {
      self.receiver = receiver
      self.name = name
    }
  }

  /// What the name `loop` stands for.
  final class LoopState {
    let items: [Value]
    let depth: Int
    /// The loop itself if it is recursive, and the variables around it.
    let recursion: (loop: Loop, scope: Scope)?
    var index = 0
    var lastChanged: [Value]?

    init(items: [Value], depth: Int, recursion: (loop: Loop, scope: Scope)?) {
      self.items = items
      self.depth = depth
      self.recursion = recursion
    }
  }

  /// Variables of one block; those around it are seen through it.
  final class Scope {
    var variables: [ExactString: Value] = [:]
    let parent: Scope?

    init(parent: Scope?) { self.parent = parent }

    func value(_ name: ExactString) -> Value? {
      var scope: Scope? = self
      while let current = scope {
        if let value = current.variables[name] { return value }
        scope = current.parent
      }
      return nil
    }
  }
}

extension Jinja.Value {
  var size: Jinja.Size {
    switch self {
    case .list(let elements), .tuple(let elements): elements.size
    case .view(let view): view.elements.size
    case .dictionary(let dictionary): dictionary.size
    case .iterator(let iterator): iterator.size
    case .string(let text): Jinja.Size(depth: 1, count: 1 + text.utf8.count / 64)
    case .method(let method): Jinja.Size(depth: method.receiver.size.depth + 1, count: method.receiver.size.count)
    // These can reach themselves, so that nothing may contain them: see `Interpreter.admit`.
    case .namespace, .loop: Jinja.Size(depth: Int.max / 2, count: 1)
    default: .scalar
    }
  }

  /// What Python calls its type.
  var typeName: String {
    switch self {
    case .undefined: "Undefined"
    case .none: "NoneType"
    case .boolean: "bool"
    case .integer, .large: "int"
    case .float: "float"
    case .string: "str"
    case .list: "list"
    case .tuple: "tuple"
    case .view(let view):
      switch view.kind {
      case .range: "range"
      case .keys: "dict_keys"
      case .values: "dict_values"
      case .items: "dict_items"
      }
    case .dictionary: "dict"
    case .iterator: "generator"
    case .namespace: "Namespace"
    case .loop: "LoopContext"
    case .macro: "Macro"
    case .method, .function: "function"
    }
  }

  var isUndefined: Bool { if case .undefined = self { true } else { false } }
  var string: String? { if case .string(let text) = self { text } else { nil } }
  /// An integer, or a Boolean, which is one in Python.
  var integer: Int? {
    switch self {
    case .integer(let value): value
    case .boolean(let value): value ? 1 : 0
    default: nil
    }
  }
  var number: Double? {
    switch self {
    case .float(let value): value
    case .large(let digits): Double(digits)
    default: integer.map(Double.init)
    }
  }

  /// Python's truth: zero, nothing and whatever is empty are false; iterators are always true.
  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .boolean(let value): value
    case .integer(let value): value != 0
    case .float(let value): value != 0
    case .string(let text): !text.isEmpty
    case .list(let elements), .tuple(let elements): !elements.values.isEmpty
    case .view(let view): !view.elements.values.isEmpty
    case .dictionary(let dictionary): dictionary.count > 0
    case .loop(let loop): !loop.items.isEmpty
    case .large, .iterator, .namespace, .macro, .method, .function: true
    }
  }

  /// The value as a dictionary's key; nil if its kind cannot be one.
  var key: Jinja.Key? {
    switch self {
    case .none: return Jinja.Key.none
    case .undefined: return .undefined
    case .boolean(let value): return .integer(value ? 1 : 0)
    case .integer(let value): return .integer(value)
    case .large(let digits): return .large(digits)
    case .float(let value): return Int(exactly: value).map { .integer($0) } ?? .float(value)
    case .string(let text): return .string(ExactString(text))
    case .tuple(let elements):
      var keys: [Jinja.Key] = []
      for element in elements.values {
        guard let key = element.key else { return nil }
        keys.append(key)
      }
      return .tuple(keys)
    default: return nil
    }
  }
}

// MARK: - From JSON

extension Jinja.Value {
  init(_ json: JSON) {
    switch json {
    case .null: self = .none
    case .bool(let value): self = .boolean(value)
    case .literal(let text): self = Self.number(text)
    case .string(let text): self = .string(text)
    case .array(let elements): self = .list(Jinja.Elements(elements.map(Self.init)))
    case .object(let members):
      var dictionary = Jinja.Dictionary()
      for (key, value) in members.pairs { dictionary.set(Self(value), for: key) }
      self = .dictionary(dictionary)
    }
  }

  private static func number(_ text: String) -> Self {
    if text.utf8.allSatisfy({ $0 != UInt8(ascii: ".") && $0 | 0x20 != UInt8(ascii: "e") }) { return integer(text) }
    return .float(Double(text) ?? .nan)
  }

  /// An integer from its decimal digits.
  static func integer(_ digits: String) -> Self { Int(digits).map { .integer($0) } ?? .large(digits) }
}

extension Jinja.Elements {
  /// Without a check of the size, for what the caller of the template gives.
  init(_ values: [Jinja.Value]) {
    self.values = values
    size = values.reduce(Jinja.Size.scalar) { $0.containing($1) }
  }
}
