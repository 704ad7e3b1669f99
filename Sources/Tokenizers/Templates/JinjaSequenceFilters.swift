internal import EspalierBasics

// Filters on sequences and mappings.
extension Jinja.Interpreter {
  static let sequenceFilters: [String: FilterFunction] = [
    "length": { run, value, given throws(Problem) in try run.length(value, given) },
    "count": { run, value, given throws(Problem) in try run.length(value, given) },
    "list": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      return try run.list(try run.elements(of: value))
    },
    "first": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      if case .iterator(let iterator) = value {
        return try iterator.next() ?? .undefined("No first item, sequence was empty.")
      }
      return try run.elements(of: value).first ?? .undefined("No first item, sequence was empty.")
    },
    "last": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      return try run.reversible(value).last ?? .undefined("No last item, sequence was empty.")
    },
    "reverse": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      if case .string(let text) = value { return try run.value(Jinja.Text.string(text.unicodeScalars.reversed())) }
      return run.iterator(over: Array(try run.elements(of: value).reversed()), size: value.size)
    },
    "join": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["d", "attribute"])
      let path = try run.path(bound[1])
      return try run.joined(
        try run.elements(of: value).map { item throws(Problem) in try run.follow(path, from: item) },
        try run.text(of: bound[0] ?? .string("")))
    },
    "default": { run, value, given throws(Problem) in try run.orDefault(value, given) },
    "d": { run, value, given throws(Problem) in try run.orDefault(value, given) },
    "items": { run, value, given throws(Problem) in
      _ = try run.bind(given, [])
      if value.isUndefined { return run.iterator(over: [], size: .scalar) }
      guard case .dictionary(let dictionary) = value else {
        throw run.failure("'items' needs a dictionary, not a \(value.typeName)")
      }
      return run.iterator(over: try run.pairs(dictionary).values, size: value.size)
    },
    "dictsort": { run, value, given throws(Problem) in try run.sortedPairs(value, given) },
    "sort": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["reverse", "case_sensitive", "attribute"])
      let paths = try run.paths(bound[2])
      let folds = !(bound[1]?.isTrue ?? false)
      return try run.list(
        try run.sorted(try run.elements(of: value), reverse: bound[0]?.isTrue ?? false) { item throws(Problem) in
          try paths.map { path throws(Problem) in run.folded(try run.follow(path, from: item), folds) }
        })
    },
    "unique": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["case_sensitive", "attribute"])
      let path = try run.path(bound[1])
      let folds = !(bound[0]?.isTrue ?? false)
      var seen: Set<Jinja.Key> = []
      var kept: [Value] = []
      for item in try run.elements(of: value) {
        let key = run.folded(try run.follow(path, from: item), folds)
        guard let hashed = key.key else { throw run.failure("a \(key.typeName) cannot be compared by 'unique'") }
        if seen.insert(hashed).inserted { kept.append(item) }
      }
      return run.iterator(over: kept, size: value.size)
    },
    "min": { run, value, given throws(Problem) in try run.extreme(value, given, largest: false) },
    "max": { run, value, given throws(Problem) in try run.extreme(value, given, largest: true) },
    "sum": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["attribute", "start"])
      let path = try run.path(bound[0])
      var total = bound[1] ?? .integer(0)
      if total.string != nil { throw run.failure("a sum cannot start with a str") }
      for item in try run.elements(of: value) { total = try run.apply(.add, total, try run.follow(path, from: item)) }
      return total
    },
    "batch": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["linecount", "fill_with"], required: 1)
      let width = try run.integer(bound[0], 1)
      guard width > 0 else { throw run.failure("'batch' needs a positive count") }
      var rows: [[Value]] = []
      for item in try run.elements(of: value) {
        if rows.last.map({ $0.count == width }) ?? true { rows.append([]) }
        rows[rows.count - 1].append(item)
      }
      if let fill = bound[1], fill.typeName != "NoneType", let last = rows.last, last.count < width {
        try run.spend(width)
        guard width <= Jinja.Limits.range else { throw run.limit("a batch of more than \(Jinja.Limits.range)") }
        rows[rows.count - 1] += Array(repeating: fill, count: width - last.count)
      }
      return run.iterator(over: try rows.map { row throws(Problem) in try run.list(row) }, size: value.size)
    },
    "slice": { run, value, given throws(Problem) in
      let bound = try run.bind(given, ["slices", "fill_with"], required: 1)
      let count = try run.integer(bound[0], 1)
      guard count > 0, count <= Jinja.Limits.range else {
        throw run.failure("'slice' needs a count from 1 to \(Jinja.Limits.range)")
      }
      let items = try run.elements(of: value)
      let (size, more) = items.count.quotientAndRemainder(dividingBy: count)
      var start = 0
      var slices: [Value] = []
      for index in 0..<count {
        let end = start + size + (index < more ? 1 : 0)
        var slice = Array(items[start..<end])
        if index >= more, let fill = bound[1], fill.typeName != "NoneType" { slice.append(fill) }
        slices.append(try run.list(slice))
        start = end
      }
      return run.iterator(over: slices, size: value.size)
    },
    "attr": { run, value, given throws(Problem) in
      let name = try run.string(try run.bind(given, ["name"], required: 1)[0])
      switch value {
      case .undefined(let message): throw run.failure(message)
      case .namespace, .loop, .macro: return try run.attribute(name, of: value)
      default: return run.method(name, of: value) ?? .undefined("a \(value.typeName) has no attribute '\(name)'")
      }
    },
    "map": { run, value, given throws(Problem) in try run.mapped(value, given) },
    "select": { run, value, given throws(Problem) in
      try run.selected(value, given, attribute: false, keeps: true)
    },
    "reject": { run, value, given throws(Problem) in
      try run.selected(value, given, attribute: false, keeps: false)
    },
    "selectattr": { run, value, given throws(Problem) in
      try run.selected(value, given, attribute: true, keeps: true)
    },
    "rejectattr": { run, value, given throws(Problem) in
      try run.selected(value, given, attribute: true, keeps: false)
    },
  ]

  private func length(_ value: Value, _ given: CallArguments) throws(Problem) -> Value {
    _ = try bind(given, [])
    switch value {
    case .undefined: return .integer(0)
    case .string(let text):
      try spend(text.utf8.count / 64)
      return .integer(Jinja.Text.count(text))
    case .list(let elements), .tuple(let elements): return .integer(elements.values.count)
    case .view(let view): return .integer(view.elements.values.count)
    case .dictionary(let dictionary): return .integer(dictionary.count)
    case .loop(let loop): return .integer(loop.items.count)
    default: throw failure("a \(value.typeName) has no length")
    }
  }

  /// What Python's `reversed` goes through: not iterators.
  private func reversible(_ value: Value) throws(Problem) -> [Value] {
    if case .iterator = value { throw failure("a generator has no last element; make it a list") }
    return try elements(of: value)
  }

  func joined(_ values: [Value], _ separator: String) throws(Problem) -> Value {
    var out = ""
    for (index, value) in values.enumerated() {
      let text = try text(of: value)
      let size = separator.utf8.count + text.utf8.count
      try admit(textBytes: out.utf8.count + size, fresh: size)
      if index > 0 { out += separator }
      out += text
    }
    return .string(out)
  }

  private func orDefault(_ value: Value, _ given: CallArguments) throws(Problem) -> Value {
    let bound = try bind(given, ["default_value", "boolean"])
    let missing = value.isUndefined || (bound[1]?.isTrue ?? false && !value.isTrue)
    return missing ? bound[0] ?? .string("") : value
  }

  func pairs(_ dictionary: Jinja.Dictionary) throws(Problem) -> Jinja.Elements {
    var pairs: [Value] = []
    for (key, value) in zip(dictionary.keys, dictionary.values) { pairs.append(.tuple(try elements([key, value]))) }
    return try elements(pairs)
  }

  // MARK: Attributes by path

  /// `"a.b.0"` as keys to follow one after another.
  private func path(_ attribute: Value?) throws(Problem) -> [Value] {
    guard let attribute, attribute.typeName != "NoneType" else { return [] }
    guard let text = attribute.string else { return [attribute] }
    return text.split(separator: ".", omittingEmptySubsequences: false).map { part in
      Int(part).flatMap { $0 >= 0 ? .integer($0) : nil } ?? .string(String(part))
    }
  }

  /// Several paths parted by commas.
  private func paths(_ attribute: Value?) throws(Problem) -> [[Value]] {
    guard let text = attribute?.string else { return [try path(attribute)] }
    return try text.split(separator: ",", omittingEmptySubsequences: false).map { part throws(Problem) in
      try path(.string(String(part)))
    }
  }

  private func follow(_ path: [Value], from value: Value) throws(Problem) -> Value {
    var value = value
    for key in path { value = try item(key, of: value) }
    return value
  }

  private func folded(_ value: Value, _ folds: Bool) -> Value {
    guard folds, case .string(let text) = value else { return value }
    return .string(Jinja.Text.lower(text))
  }

  // MARK: Order

  /// A stable merge sort by keys compared in turn; the keys may refuse to be compared.
  private func sorted(
    _ values: [Value], reverse: Bool, key: (Value) throws(Problem) -> [Value]
  ) throws(Problem) -> [Value] {
    let keyed = try values.map { value throws(Problem) in (value, try key(value)) }
    func precedes(_ a: [Value], _ b: [Value]) throws(Problem) -> Bool {
      try spend(1)
      for (x, y) in zip(a, b) {
        if try isLess(x, y) { return true }
        if try isLess(y, x) { return false }
      }
      return false
    }
    func sort(_ part: ArraySlice<(Value, [Value])>) throws(Problem) -> [(Value, [Value])] {
      guard part.count > 1 else { return Array(part) }
      let middle = part.startIndex + part.count / 2
      let (left, right) = (try sort(part[..<middle]), try sort(part[middle...]))
      var merged: [(Value, [Value])] = []
      merged.reserveCapacity(part.count)
      var (i, j) = (0, 0)
      while i < left.count, j < right.count {
        let takesRight = reverse ? try precedes(left[i].1, right[j].1) : try precedes(right[j].1, left[i].1)
        merged.append(takesRight ? right[j] : left[i])
        if takesRight { j += 1 } else { i += 1 }
      }
      return merged + left[i...] + right[j...]
    }
    return try sort(keyed[...]).map(\.0)
  }

  private func sortedPairs(_ value: Value, _ given: CallArguments) throws(Problem) -> Value {
    let bound = try bind(given, ["case_sensitive", "by", "reverse"])
    guard case .dictionary(let dictionary) = value else {
      throw failure("'dictsort' needs a dictionary, not a \(value.typeName)")
    }
    let by = try string(bound[1], "key")
    guard by == "key" || by == "value" else { throw failure("'dictsort' sorts by key or value") }
    let folds = !(bound[0]?.isTrue ?? false)
    let pairs = try pairs(dictionary).values
    return try list(
      try sorted(pairs, reverse: bound[2]?.isTrue ?? false) { pair throws(Problem) in
        [folded(try item(.integer(by == "key" ? 0 : 1), of: pair), folds)]
      })
  }

  private func extreme(_ value: Value, _ given: CallArguments, largest: Bool) throws(Problem) -> Value {
    let bound = try bind(given, ["case_sensitive", "attribute"])
    let path = try path(bound[1])
    let folds = !(bound[0]?.isTrue ?? false)
    var best: (value: Value, key: Value)?
    for item in try elements(of: value) {
      let key = folded(try follow(path, from: item), folds)
      if let current = best {
        guard largest ? try isLess(current.key, key) : try isLess(key, current.key) else { continue }
      }
      best = (item, key)
    }
    return best?.value ?? .undefined("No aggregated item, sequence was empty.")
  }

  // MARK: Lazy filters

  func iterator(over values: [Value], size: Jinja.Size) -> Value {
    var index = 0
    return .iterator(
      Jinja.Iterator(size: size) { () throws(Problem) in
        guard index < values.count else { return nil }
        defer { index += 1 }
        return values[index]
      })
  }

  /// An iterator that passes on what `transform` makes of each element, and leaves out nil.
  private func iterator(
    over value: Value, _ transform: @escaping (Value) throws(Problem) -> Value?
  ) throws(Problem) -> Value {
    guard value.isTrue else { return iterator(over: [], size: .scalar) }
    try admit(Jinja.Size(depth: value.size.depth + 1, count: 1), elements: 1)
    let upstream: Jinja.Iterator
    if case .iterator(let iterator) = value {
      upstream = iterator
    } else {
      guard case .iterator(let iterator) = self.iterator(over: try elements(of: value), size: value.size) else {
        return .none
      }
      upstream = iterator
    }
    return .iterator(
      Jinja.Iterator(size: upstream.size) { [unowned self] () throws(Problem) in
        // A chain of iterators calls down through all of them.
        try enter()
        defer { leave() }
        while let next = try upstream.next() {
          try spend(1)
          if let result = try transform(next) { return result }
        }
        return nil
      })
  }

  private func mapped(_ value: Value, _ given: CallArguments) throws(Problem) -> Value {
    if given.positional.isEmpty, given.named.contains(where: { $0.name == "attribute" }) {
      let bound = try bind(given, to: "map", ["attribute", "default"])
      let path = try path(bound[0])
      return try iterator(over: value) { [unowned self] item throws(Problem) in
        var item = item
        for key in path {
          item = try self.item(key, of: item)
          if item.isUndefined, let fallback = bound[1], fallback.typeName != "NoneType" { item = fallback }
        }
        return item
      }
    }
    guard let name = given.positional.first?.string else { throw failure("'map' needs the name of a filter") }
    let rest = CallArguments(positional: Array(given.positional.dropFirst()), named: given.named)
    return try iterator(over: value) { [unowned self] item throws(Problem) in
      try apply(filter: name, to: item, rest)
    }
  }

  private func selected(
    _ value: Value, _ given: CallArguments, attribute: Bool, keeps: Bool
  ) throws(Problem) -> Value {
    var positional = given.positional[...]
    var path: [Value] = []
    if attribute {
      guard let name = positional.popFirst() else { throw failure("the name of an attribute is missing") }
      path = try self.path(name)
    }
    let test = positional.popFirst()
    let rest = CallArguments(positional: Array(positional), named: given.named)
    let name = try test.map { test throws(Problem) in try string(test) }
    return try iterator(over: value) { [unowned self] item throws(Problem) in
      let subject = try follow(path, from: item)
      let holds = try name.map { name throws(Problem) in try apply(test: name, to: subject, rest) } ?? subject.isTrue
      return holds == keeps ? item : nil
    }
  }
}
