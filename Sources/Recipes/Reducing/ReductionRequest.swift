public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierReduction

/// What a user asks of a pruning, a factorization or a calibrated quantization.
public struct ReductionRequest: Sendable {
  /// How small the matrices are to be.
  public enum Goal: Sendable, Hashable {
    /// Of all matrices that are reduced alike.
    case budget(MatrixBudget)
    /// Each matrix by its name.
    case allotted([ExactString: MatrixBudget])

    /// Nothing beside the codes of a quantization.
    public static let codes = Goal.budget(.sparsity(0))
  }

  /// How reduced matrices are stored.
  public enum Storage: String, Sendable, Hashable, CaseIterable {
    /// As ordinary tensors: zeros in place, products multiplied out.
    case dense
    /// As what is left: a bitmap with the numbers that are not zero, factors. Espalier alone reads it.
    case reduced
    /// As codes with scales, in a layout that other programs read. For methods of quantization.
    case packed
    /// As blocks of the types of GGUF files, one a parameter, for a file that takes them as they are. For GPTQ.
    case blocks
  }

  /// Where statistics come from.
  public enum Source: Sendable {
    case nothing
    case file(String)
    /// They are gathered on the way. In sequence, each block sees the reduced blocks before it; otherwise all see the
    /// original ones.
    case text(CalibrationText, isSequential: Bool)
  }

  /// The name of a method.
  public var method: String
  /// Values of its parameters.
  public var parameters: [String: ParameterValue] = [:]
  public var goal: Goal
  public var storage = Storage.dense
  /// The layout of packed codes; nil for ``standardLayout``.
  public var layout: PackedLayout?
  /// The types of blocks, by parameter; only what has one is reduced.
  public var blockTypes: [ExactString: BlockType] = [:]
  /// How the scales of blocks are found.
  public var search = BlockEncoder.Search.reference
  public var source: Source
  /// Regular expressions; a matrix stays as it is if one is found in its name.
  public var keep: [String] = []
  /// Regular expressions; if there are any, a matrix is reduced only if one is found in its name, wherever it stands.
  public var only: [String] = []
  /// Whether the head is reduced like what is inside layers; one that is the embedding too changes as both.
  public var takesHead = false
  /// As ``MomentShape/init(width:limit:)``; nil for 8192, and no limit for methods that need moments whole.
  public var momentLimit: Int?
  /// What an allotted goal was found by; it is written beside the weights.
  public var table: SensitivityTable?
  /// Whether the error of the plain method at the same budget (magnitude, SVD, rounding) is measured beside.
  public var measuresBaseline = true

  public init(method: String, goal: Goal, source: Source) {
    self.method = method
    self.goal = goal
    self.source = source
  }

  public var isSequential: Bool { if case .text(_, let isSequential) = source { isSequential } else { false } }

  /// All that the result depends on beside the model, in a fixed order.
  var text: String {
    var lines = ["method \(method)"]
    for (name, value) in parameters.sorted(by: { $0.key < $1.key }) { lines.append("\(name) \(value)") }
    switch goal {
    case .codes where makesCodes: break
    case .budget(let budget): lines.append("budget \(budget.description)")
    case .allotted(let budgets):
      for (name, budget) in budgets.sorted(by: { "\($0.key)" < "\($1.key)" }) {
        lines.append("\(name): \(budget.description)")
      }
    }
    switch storage {
    case .packed: lines.append("store packed \((layout ?? standardLayout).rawValue)")
    case .blocks: lines.append("store blocks, search \(search.rawValue), columns weighed")
    case .dense, .reduced: lines.append("store \(storage.rawValue)")
    }
    if takesHead { lines.append("head too") }
    lines += keep.map { "keep \($0)" } + only.map { "only \($0)" }
    switch source {
    case .nothing: break
    case .file(let path): lines.append("statistics \(FileSystem.lastComponent(of: path))")
    case .text(let text, let isSequential):
      lines.append("text \(text.windows.cut), tokens \(TokenWindows.digest(of: text.windows.sequences))")
      lines.append(isSequential ? "in sequence" : "in one shot")
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension MatrixBudget {
  private static func plain(_ share: Double) -> String { ParameterValue.number(share).description }

  /// What stands in the way of this budget for a matrix `[outputs, inputs]`, known from its shape.
  func complaint(outputs: Int, inputs: Int) -> String? {
    switch self {
    case .sparsity(let share):
      (0...1).contains(share) ? nil : "a sparsity of \(Self.plain(share)) is not from 0 to 1"
    case .pattern(let keep, let of):
      of < 1 || !(0...of).contains(keep)
        ? "a pattern cannot keep \(keep) of \(of)"
        : inputs % of == 0 ? nil : "its \(inputs) inputs cannot be cut into groups of \(of)"
    case .rank(let rank):
      (1...min(outputs, inputs)).contains(rank)
        ? nil : "rank \(rank) is not from 1 to \(min(outputs, inputs)), which it can have"
    case .parameters(let share):
      share > 0 && share <= 1
        ? share * Double(outputs) * Double(inputs) >= Double(outputs + inputs)
          ? nil : "\(Self.plain(share)) of its numbers do not pay for one rank"
        : "a share of \(Self.plain(share)) of the numbers is not above 0 and at most 1"
    }
  }
}
