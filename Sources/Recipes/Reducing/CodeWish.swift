public import EspalierBasics
internal import EspalierReduction

/// What codes are to be like in the words that all methods of quantization share, in place of each one's own parameters.
public struct CodeWish: Sendable {
  /// What may be said; the raw values are a recipe's keys.
  public enum Word: String, Sendable, Hashable { case bits, group, symmetric }

  /// The columns of a row that share a scale.
  public enum Group: Sendable, Hashable {
    case row
    case columns(Int)

    /// `row`, or a number of columns from 1; nil for anything else.
    public init?(_ text: String) {
      if text == "row" {
        self = .row
      } else if let count = Int(text), count >= 1 {
        self = .columns(count)
      } else {
        return nil
      }
    }
  }

  public var bits: Double?
  public var group: Group?
  public var isSymmetric: Bool?

  public init() {}

  /// What is said that the method knows nothing of.
  public func unknown(to card: MethodCard) -> [Word] {
    let columns = if case .columns = group { true } else { false }
    let all: [(word: Word, isGiven: Bool, names: [String])] = [
      (.bits, bits != nil, ["bits"]), (.group, group != nil, columns ? ["scales", "group_size"] : ["scales"]),
      (.symmetric, isSymmetric != nil, ["symmetric"]),
    ]
    return all.filter { $0.isGiven && $0.names.contains { card.parameter($0) == nil } }.map(\.word)
  }

  /// The parameters of the method that this comes to.
  ///
  /// - Parameter named: those that are given by their own names.
  /// - Throws: `reduction` for what is said twice.
  public func parameters(
    of method: String, beside named: [String: ParameterValue]
  ) throws(Problem) -> [String: ParameterValue] {
    var values = written
    for (name, value) in named {
      guard values[name] == nil else { throw Problem(.reduction, "`\(name)` of \(method) is given twice") }
      values[name] = value
    }
    // As its authors have it.
    if method == AWQ.card.name, values["symmetric"] == nil { values["symmetric"] = .flag(false) }
    // Groups that a sweep fits have to lie in its blocks.
    if method == GPTQ.card.name, values["block_size"] == nil, case .number(let size)? = values["group_size"], size > 0,
      128.truncatingRemainder(dividingBy: size) != 0, size.rounded() == size
    {
      values["block_size"] = .number(size)
    }
    return values
  }

  private var written: [String: ParameterValue] {
    var values: [String: ParameterValue] = [:]
    values["bits"] = bits.map { .number($0) }
    values["symmetric"] = isSymmetric.map { .flag($0) }
    switch group {
    case .row: values["scales"] = .word("row")
    case .columns(let count): (values["scales"], values["group_size"]) = (.word("group"), .number(Double(count)))
    case nil: break
    }
    return values
  }
}
