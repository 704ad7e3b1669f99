public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierNumerics

/// One level for all matrices that meets a goal for the whole model.
public struct UniformBudget: Sendable, Hashable {
  /// A matrix that may be reduced.
  public struct Target: Sendable, Hashable {
    public var name: String
    public var rows: Int
    public var columns: Int
    /// What the result is stored as.
    public var elementType: ElementType

    public init(_ name: String, rows: Int, columns: Int, elementType: ElementType) {
      self.name = name
      self.rows = rows
      self.columns = columns
      self.elementType = elementType
    }
  }

  public let level: MatrixBudget
  /// The most that the targets take together at this level (``LevelFamily/size(at:rows:columns:elementType:)``).
  public let numbers: Int
  public let bytes: Int

  /// The largest level that does not exceed the goal.
  ///
  /// `.sparsity` becomes that sparsity itself, as papers mean it: methods round its zeros down in every row or matrix, and
  /// ``numbers`` says what that comes to. Every other goal is kept strictly: shares are taken in millionths, patterns by
  /// whole numbers, and what is chosen is the largest whose numbers or bytes, summed over all targets, are within it.
  ///
  /// - Throws: `reduction` for a goal of error (which takes a ``SensitivityTable``), one that the family does not have, and
  ///   one that its smallest level exceeds, naming what that takes; `matrix.shape`; `matrix.format`.
  public init(
    _ goal: BudgetGoal, for targets: [Target], in family: LevelFamily, untouched: UntouchedPart = UntouchedPart()
  ) throws(Problem) {
    let sizes = UniformSizes(targets: targets, family: family)
    var whole = 0
    for target in targets {
      guard let count = [target.rows, target.columns].checkedProduct else {
        throw Problem(.matrixShape, "a matrix of \(target.rows) x \(target.columns)", tensor: target.name)
      }
      whole += count
      // Far above any model, and low enough that no sum of bytes overflows.
      guard whole <= 1 << 52 else {
        throw Problem(.matrixShape, "with it the targets have \(whole) numbers", tensor: target.name)
      }
    }
    guard let (unit, most) = try goal.limit(targets: whole, untouched: untouched) else {
      throw Problem(
        .reduction, "one level for an error of every matrix takes a measured table",
        remedy: "Measure one with `espalier sensitivity`.")
    }
    if case .sparsity(let share) = goal {
      switch family {
      case .zeros(.groups, _): break
      case .zeros:
        self = try sizes.budget(at: .sparsity(share))
        return
      case .factors, .cur:
        throw Problem(
          .reduction, "a sparsity of \(share) for a method that makes factors, not zeros",
          remedy: "Give the share of the parameters that stay.")
      }
    }
    self = try sizes.largest(unit, atMost: most)
  }

  init(level: MatrixBudget, numbers: Int, bytes: Int) {
    self.level = level
    self.numbers = numbers
    self.bytes = bytes
  }

  func size(_ unit: BudgetUnit) -> Int { unit == .numbers ? numbers : bytes }
}

/// The levels of a family from the largest to the smallest, and what all targets take at each.
private struct UniformSizes {
  let targets: [UniformBudget.Target]
  let family: LevelFamily

  private static let millionths = 1_000_000

  func budget(at level: MatrixBudget) throws(Problem) -> UniformBudget {
    var (numbers, bytes) = (0, 0)
    for target in targets {
      do throws(Problem) {
        let size = try family.size(
          at: level, rows: target.rows, columns: target.columns, elementType: target.elementType)
        numbers += size.numbers
        bytes += size.bytes
      } catch { throw error.at(tensor: target.name) }
    }
    return UniformBudget(level: level, numbers: numbers, bytes: bytes)
  }

  /// Sizes fall with the place of a level, so that the first that fits is found by bisection.
  func largest(_ unit: BudgetUnit, atMost most: Int) throws(Problem) -> UniformBudget {
    var (first, last) = (0, lastPlace)
    let least = try budget(at: level(last))
    guard least.size(unit) <= most else {
      func text(_ size: Int) -> String { unit == .bytes ? ByteCount.text(size) : "\(size) numbers" }
      throw Problem(
        .reduction,
        "the targets may take \(text(most)), and at their smallest level, \(least.level), they take \(text(least.size(unit)))",
        remedy: stays && unit == .bytes
          ? "Zeros in place take as many bytes as before: store them sparse." : "Give more, or reduce more.")
    }
    while first < last {
      let middle = (first + last) / 2
      if try budget(at: level(middle)).size(unit) <= most { last = middle } else { first = middle + 1 }
    }
    return try budget(at: level(first))
  }

  private var stays: Bool { if case .zeros(_, sparse: false) = family { true } else { false } }

  private func level(_ place: Int) -> MatrixBudget {
    switch family {
    case .zeros(.groups(_, let of), _): .pattern(keep: of - place, of: of)
    case .zeros: .sparsity(Double(place) / Double(Self.millionths))
    case .factors, .cur: .parameters(Double(Self.millionths - place) / Double(Self.millionths))
    }
  }

  /// Of the smallest level: nothing left of zeros, one rank of factors for the matrix that pays for it last.
  private var lastPlace: Int {
    switch family {
    case .zeros(.groups(_, let of), _): return max(0, of)
    case .zeros: return Self.millionths
    case .factors, .cur:
      let share = targets.reduce(0) { share, target in
        let numbers = Double(target.rows) + Double(target.columns) + (family == .cur ? 1 : 0)
        return max(share, numbers / max(1, Double(target.rows) * Double(target.columns)))
      }
      // One millionth more than exactly enough, for rounding in what makes a rank of a share.
      return max(0, Self.millionths - Int((share * Double(Self.millionths)).rounded(.up)) - 1)
    }
  }
}
