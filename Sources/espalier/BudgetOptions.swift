public import ArgumentParser
import EspalierBasics
public import EspalierReduction

extension SensitivityTable.Objective: ExpressibleByArgument {}

/// What is asked of a whole model, and how it is dealt out.
struct BudgetWish {
  /// One level for every matrix, where the budget is that.
  var level: MatrixBudget?
  /// The same, or another, as a goal for the whole model.
  var goal: BudgetGoal
  /// The groups of a pattern.
  var groups: Int?
}

/// Budgets that pruning and factorization share.
struct BudgetOptions: ParsableArguments {
  @Option(help: "The share of the numbers of these matrices that stays, above 0 and at most 1.")
  var parameters: Double?

  @Option(help: ArgumentHelp("The size of the whole model's weights, e.g. 100MB.", valueName: "size"))
  var size: String?

  @Option(help: "The relative error of each matrix's outputs at most: every matrix gets its smallest level within it.")
  var maxError: Double?

  @Flag(help: "Deal the budget out by measured sensitivity, so that the sum of squared errors is least.")
  var allocate = false

  @Option(
    help: "With --allocate: relative, errors count by the size of each matrix's outputs; absolute, as they are.")
  var objective = SensitivityTable.Objective.relative

  @Option(
    help: ArgumentHelp("A table of `espalier sensitivity`, in place of measuring one.", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var table: String?

  func validate() throws {
    if let parameters, !(parameters > 0 && parameters <= 1) {
      throw ValidationError("--parameters must be above 0 and at most 1.")
    }
    if let size, ByteCount.parse(size) == nil {
      throw ValidationError("--size \(size) is not a size; write it like 100MB or 1.5G.")
    }
    if let maxError, !(maxError >= 0 && maxError.isFinite) { throw ValidationError("--max-error must be 0 or more.") }
    if table != nil, !allocate, maxError == nil { throw ValidationError("--table needs --allocate or --max-error.") }
    if maxError != nil, allocate {
      throw ValidationError("--max-error sets each matrix by itself; leave --allocate out.")
    }
  }

  /// The goals that were given.
  var goals: [BudgetGoal] {
    [
      parameters.map { .parameters($0) }, size.flatMap { ByteCount.parse($0) }.map { .bytes($0) },
      maxError.map { .maxError($0) },
    ].compactMap { $0 }
  }
}

/// How many weights go.
struct PruningBudget: ParsableArguments {
  @Option(help: "The share of weights that goes, from 0 to 1.")
  var sparsity: Double?

  @Option(help: ArgumentHelp("Of every M consecutive inputs of an output N stay, e.g. 2:4.", valueName: "N:M"))
  var pattern: String?

  @OptionGroup var shared: BudgetOptions

  func validate() throws {
    guard [sparsity != nil, pattern != nil].count(where: { $0 }) + shared.goals.count == 1 else {
      throw ValidationError("Give one budget: --sparsity, --pattern, --parameters, --size or --max-error.")
    }
    if let sparsity, !(0...1).contains(sparsity) { throw ValidationError("--sparsity must be from 0 to 1.") }
    if let pattern, Self.parsed(pattern) == nil {
      throw ValidationError("--pattern \(pattern) is not of the form 2:4.")
    }
  }

  var wish: BudgetWish {
    if let (keep, of) = pattern.flatMap({ Self.parsed($0) }) {
      return BudgetWish(
        level: .pattern(keep: keep, of: of), goal: .sparsity(Double(of - keep) / Double(of)), groups: of)
    }
    if let sparsity { return BudgetWish(level: .sparsity(sparsity), goal: .sparsity(sparsity)) }
    let goal = shared.goals.first ?? .sparsity(0)
    if case .parameters(let share) = goal { return BudgetWish(level: .sparsity(1 - share), goal: goal) }
    return BudgetWish(level: nil, goal: goal)
  }

  static func parsed(_ text: String) -> (Int, Int)? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let keep = Int(parts[0]), let of = Int(parts[1]), of > 0, (1...of).contains(keep) else {
      return nil
    }
    return (keep, of)
  }
}

/// How small factors are.
struct FactorBudget: ParsableArguments {
  @Option(help: "The rank of every matrix.")
  var rank: Int?

  @OptionGroup var shared: BudgetOptions

  func validate() throws {
    guard [rank != nil].count(where: { $0 }) + shared.goals.count == 1 else {
      throw ValidationError("Give one budget: --rank, --parameters, --size or --max-error.")
    }
    if let rank, rank < 1 { throw ValidationError("--rank must be at least 1.") }
    if rank != nil, shared.allocate {
      throw ValidationError("--rank is one rank for all; --allocate takes a share or a size.")
    }
  }

  var wish: BudgetWish {
    if let rank { return BudgetWish(level: .rank(rank), goal: .parameters(1)) }
    let goal = shared.goals.first ?? .parameters(1)
    if case .parameters(let share) = goal { return BudgetWish(level: .parameters(share), goal: goal) }
    return BudgetWish(level: nil, goal: goal)
  }
}
