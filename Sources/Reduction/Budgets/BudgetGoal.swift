public import EspalierBasics

/// How small a whole model is to be, or how exact.
///
/// The matrices that a run may reduce are its targets; everything else (embeddings, norms, heads, what a filter keeps) is
/// untouched and stays as it is.
public enum BudgetGoal: Sendable, Hashable {
  /// The share of the targets' numbers that become zero, 0 to 1.
  case sparsity(Double)
  /// The share of the targets' numbers that stay, 0 to 1.
  case parameters(Double)
  /// The share of the numbers of the whole model that stay, untouched ones among them, 0 to 1.
  case modelParameters(Double)
  /// Bytes of the whole model's tensors.
  case bytes(Int)
  /// The relative error of the outputs of each target on the calibration data, at most.
  case maxError(Double)
}

/// What is limited.
public enum BudgetUnit: String, Sendable, Hashable, CaseIterable {
  /// Numbers that are stored, zeros not counted.
  case numbers
  case bytes
}

/// What of a model no method reduces.
public struct UntouchedPart: Sendable, Hashable {
  public var numbers: Int
  public var bytes: Int

  public init(numbers: Int = 0, bytes: Int = 0) {
    self.numbers = numbers
    self.bytes = bytes
  }
}

extension BudgetGoal {
  /// What the targets may take together; nil for a goal of error. Shares of numbers are rounded down.
  ///
  /// - Parameter numbers: of the targets as they are.
  /// - Throws: `reduction` for a share outside 0 to 1, an error that is negative or not a number, and a goal that the
  ///   untouched part exceeds alone.
  public func limit(targets numbers: Int, untouched: UntouchedPart) throws(Problem) -> (unit: BudgetUnit, most: Int)? {
    func rounded(_ share: Double, of whole: Int) throws(Problem) -> Int {
      guard (0...1).contains(share) else { throw Problem(.reduction, "a share of \(share), which must be from 0 to 1") }
      return Int(Double(whole) * share)
    }
    switch self {
    case .sparsity(let share):
      // What is left is rounded down, so the zeros up.
      let zeros = try rounded(share, of: numbers)
      return (.numbers, numbers - zeros - (Double(zeros) < Double(numbers) * share ? 1 : 0))
    case .parameters(let share): return (.numbers, try rounded(share, of: numbers))
    case .modelParameters(let share):
      let whole = numbers + untouched.numbers
      let most = try rounded(share, of: whole) - untouched.numbers
      guard most >= 0 else {
        throw Problem(
          .reduction,
          "\(share) of \(whole) numbers is less than the \(untouched.numbers) of parameters that stay as they are",
          remedy: "Give a share above \(Double(untouched.numbers) / Double(whole)), or let more matrices be reduced.")
      }
      return (.numbers, most)
    case .bytes(let bytes):
      guard bytes >= untouched.bytes else {
        throw Problem(
          .reduction,
          "\(ByteCount.text(bytes)) is less than the \(ByteCount.text(untouched.bytes)) of parameters that stay as they are",
          remedy: "Give more, or let more matrices be reduced.")
      }
      return (.bytes, bytes - untouched.bytes)
    case .maxError(let error):
      guard error >= 0 else { throw Problem(.reduction, "an error of \(error), which must be 0 or more") }
      return nil
    }
  }
}
