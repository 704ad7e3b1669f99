public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics

/// A parameter that is stored in a reduced form, as far as headers tell: how much is left of it.
public struct ReducedForm: Sendable, Hashable {
  /// As in files, such as `low_rank`; a pattern as `2:4`.
  public let name: String
  /// Types of the stored numbers, each once.
  public let typeNames: [String]
  /// Numbers that are stored, positions not counted.
  public let storedNumbers: Int
  public let byteCount: Int
  /// The share of elements that are not stored; nil for factors.
  public let sparsity: Double?
  /// The least inner size of the factors; nil for zeros.
  public let rank: Int?
  /// Rows or columns that are whole beside factors; nil in other forms.
  public let whole: Int?

  public init(_ storage: ReducedStorage) {
    byteCount = storage.parts.reduce(0) { $0 + $1.byteCount }
    let numbers: [StoredTensor]
    switch storage.form {
    case .bitmap, .pattern: numbers = [storage.parts[storage.parts.count - 1]]
    case .lowRank, .cur: numbers = storage.parts
    case .split: numbers = Array(storage.parts.dropFirst())
    }
    storedNumbers = numbers.reduce(0) { $0 + $1.elementCount }
    var types: [String] = []
    for part in numbers where !types.contains(part.elementType.rawValue) { types.append(part.elementType.rawValue) }
    typeNames = types
    switch storage.form {
    case .bitmap, .pattern:
      sparsity = 1 - Double(storedNumbers) / Double(storage.rows * storage.columns)
      rank = nil
    case .lowRank, .cur:
      sparsity = nil
      rank = storage.parts.dropLast().map { $0.shape[$0.shape.count - 1] }.min()
    case .split(let axis):
      sparsity = nil
      rank = storage.parts[2].shape[axis == .rows ? 1 : 0]
    }
    if case .split = storage.form { whole = storage.parts[0].elementCount } else { whole = nil }
    if case .pattern(let keep, let of) = storage.form { name = "\(keep):\(of)" } else { name = storage.form.name }
  }

  /// Everything, for programs.
  public var json: JSON {
    .object(
      [
        ("name", .string(name)), ("types", .strings(typeNames)), ("stored_numbers", .number(storedNumbers)),
        ("byte_count", .number(byteCount)),
      ] + (sparsity.map { [("sparsity", .number($0))] } ?? []) + (rank.map { [("rank", .number($0))] } ?? [])
        + (whole.map { [("whole", .number($0))] } ?? []))
  }
}

extension Inspection {
  /// Parameters in reduced forms, in the order of their names.
  var reduced: [(tensor: Tensor, form: ReducedForm)] {
    tensors.compactMap { tensor in tensor.form.map { (tensor, $0) } }
  }

  /// A line a form and kind of parameter, layers together, and the total.
  var reducedTable: [String] {
    let rows = grouped(reduced) { entry in KindOfForm(name: entry.form.name, kind: entry.tensor.kind) }
    return Self.reducedTable(
      rows.map { ("\($0.key.kind)", $0.elements) }, title: "reduced parameter", counting: true)
  }

  /// A line a parameter, and the total.
  var reducedTensorTable: [String] {
    Self.reducedTable(reduced.map { ($0.tensor.parameter.name, [$0]) }, title: "reduced parameter", counting: false)
  }

  private struct KindOfForm: Hashable {
    var name: String
    var kind: String
  }

  private static func reducedTable(
    _ groups: [(name: String, entries: [(tensor: Tensor, form: ReducedForm)])], title: String, counting: Bool
  ) -> [String] {
    guard !groups.isEmpty else { return [] }
    let rows = groups + [("total", groups.flatMap(\.entries))]
    let sums = rows.map { row in
      (
        stored: row.entries.reduce(0) { $0 + $1.form.byteCount },
        plain: row.entries.reduce(0) { $0 + $1.tensor.plainByteCount }
      )
    }
    var table = TextTable()
    table.add(title, align: .left, rows.map(\.name))
    table.add("form", align: .left, rows.map { distinct($0.entries.map(\.form.name)) })
    if counting { table.add("tensors", rows.map { "\($0.entries.count)" }) }
    table.add("bytes", sums.map { ByteCount.text($0.stored) })
    table.add("plain", sums.map { ByteCount.text($0.plain) })
    table.add("share", sums.map { Figures.percent(Double($0.stored) / Double(max(1, $0.plain))) })
    table.add("sparsity", rows.map { span($0.entries.compactMap(\.form.sparsity), Figures.percent) })
    table.add("rank", rows.map { span($0.entries.compactMap(\.form.rank)) { "\($0)" } })
    return table.lines
  }

  private static func distinct(_ names: [String]) -> String {
    var seen: [String] = []
    for name in names where !seen.contains(name) { seen.append(name) }
    return seen.joined(separator: ", ")
  }

  /// One value, or from where to where they go.
  private static func span<Value: Comparable>(_ values: [Value], _ text: (Value) -> String) -> String {
    guard let least = values.min(), let most = values.max() else { return "-" }
    let (from, to) = (text(least), text(most))
    return from == to ? from : "\(from) to \(to)"
  }

  /// The totals of what is reduced.
  var reducedJSON: JSON {
    let forms = grouped(reduced) { $0.form.name }
    func totals(_ entries: [(tensor: Tensor, form: ReducedForm)]) -> [(String, JSON)] {
      [
        ("tensor_count", .number(entries.count)),
        ("parameter_count", .number(entries.reduce(0) { $0 + $1.tensor.parameter.elementCount })),
        ("stored_numbers", .number(entries.reduce(0) { $0 + $1.form.storedNumbers })),
        ("byte_count", .number(entries.reduce(0) { $0 + $1.form.byteCount })),
        ("plain_byte_count", .number(entries.reduce(0) { $0 + $1.tensor.plainByteCount })),
      ]
    }
    return .object(
      totals(reduced) + [
        ("forms", .array(forms.map { .object([("name", .string($0.key))] + totals($0.elements)) }))
      ])
  }
}

extension Inspection.Tensor {
  /// The name with the number of its layer left open.
  fileprivate var kind: String {
    guard case .layer(let number) = place.section else { return parameter.name }
    var words = parameter.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    if let index = words.firstIndex(of: "\(number)") { words[index] = "*" }
    return words.joined(separator: ".")
  }
}
