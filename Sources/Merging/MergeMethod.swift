public import EspalierBasics
public import EspalierExecution

/// A way of making one tensor out of several of the same name and shape.
///
/// A method is a value: its parameters for one tensor. It sees its inputs as float32 in passes over blocks
/// (``MergePasses``) and knows nothing of files, threads or element types. Adding one takes a file in `Methods/`, a
/// line in ``MergeMethods`` and a test.
public protocol MergeMethod: Sendable {
  static var card: MethodCard { get }
  static var inputs: MergeInputRule { get }
  init(_ parameters: MergeParameters) throws(Problem)
  /// What blocks are in the passes over a tensor of this shape.
  func layouts(shape: [Int]) -> [Tiling.Blocks]
  /// How many block-long arrays of floats the method wants besides its inputs.
  var scratchCount: Int { get }
  /// How often the inputs are read.
  var passCount: Int { get }
  /// Bytes kept while a tensor of this shape is merged, beside the working arrays of the passes.
  func residentBytes(shape: [Int], inputs: Int) -> Int
  /// Computes the output; calls ``TensorPasses.write(_:_:)`` exactly once, last.
  func merge(_ passes: MergePasses) throws(Problem)
}

extension MergeMethod {
  public func layouts(shape: [Int]) -> [Tiling.Blocks] { [.flat] }
  public var scratchCount: Int { 0 }
  public var passCount: Int { 1 }
  public func residentBytes(shape: [Int], inputs: Int) -> Int { 0 }
}

/// Which inputs a method takes, and what it does when a model lacks an optional tensor.
public struct MergeInputRule: Sendable {
  public enum Base: Sendable {
    /// The base model is an origin: the others are seen as changes to it.
    case required
    case optional
    /// A base model, if one is named, is an input like the others.
    case ordinary
  }

  public enum Missing: Sendable {
    /// Goes on with the inputs that are there; the base has to be among them where it is required.
    case proceed
    /// A tensor that only one model has passes through unchanged.
    case passSingle
    /// A tensor that only the base has passes through unchanged.
    case passBase
    /// As ``passBase``; with fewer than three inputs the tensor is left out with a warning.
    case passBaseOrSkip
  }

  public var base: Base
  /// Inputs in all, the base included where it has its special role.
  public var count: ClosedRange<Int>
  public var missing: Missing

  public init(base: Base, count: ClosedRange<Int>, missing: Missing = .proceed) {
    self.base = base
    self.count = count
    self.missing = missing
  }
}

/// Resolved parameters of one tensor's merge.
public struct MergeParameters: Sendable, Hashable, Codable {
  /// By name, for the tensor.
  public var shared: [String: ParameterValue]
  /// By name, one dictionary an input (the base, if it has its role, is the first).
  public var inputs: [[String: ParameterValue]]
  /// Whether the first input is the base.
  public var hasBase: Bool

  public init(shared: [String: ParameterValue], inputs: [[String: ParameterValue]], hasBase: Bool) {
    self.shared = shared
    self.inputs = inputs
    self.hasBase = hasBase
  }

  public func number(_ name: String) throws(Problem) -> Double { try Self.number(name, in: shared) }

  public func flag(_ name: String) throws(Problem) -> Bool {
    guard case .flag(let value) = shared[name] else { throw Self.missing(name) }
    return value
  }

  /// A parameter that may be absent.
  public func value(_ name: String) -> ParameterValue? { shared[name] }

  /// The value of every input, or of every input but the base.
  public func numbers(_ name: String, withBase: Bool = false) throws(Problem) -> [Double] {
    var values: [Double] = []
    for input in inputs.dropFirst(hasBase && !withBase ? 1 : 0) { values.append(try Self.number(name, in: input)) }
    return values
  }

  /// As ``numbers(_:withBase:)`` without the base, nil where an input has no value.
  public func optionalNumbers(_ name: String) -> [Double?] {
    inputs.dropFirst(hasBase ? 1 : 0).map { if case .number(let value)? = $0[name] { value } else { nil } }
  }

  private static func number(_ name: String, in values: [String: ParameterValue]) throws(Problem) -> Double {
    guard case .number(let value) = values[name] else { throw missing(name) }
    return value
  }

  private static func missing(_ name: String) -> Problem {
    Problem(.parameterMissing, "the parameter \(name) has no value")
  }
}

extension Problem.Code {
  public static let parameterMissing = Problem.Code("parameter.missing")
  public static let parameterRange = Problem.Code("parameter.range")
  public static let mergeInputs = Problem.Code("merge.inputs")
}

/// The inputs of one tensor's merge, in passes. If there is a base, it is the first input.
public struct MergePasses {
  /// The passes themselves.
  public let tensor: TensorPasses
  /// Name of the tensor and seed of the run: what random choices are keyed by.
  public let name: String
  public let seed: UInt64
}
