public import EspalierBasics
public import EspalierCheckpoints
public import EspalierExecution

/// One tensor of a merge, as data.
public struct MergeJob: TensorJob, Codable {
  public struct Input: Sendable, Hashable, Codable {
    /// Name of the model, for messages.
    public var model: String
    public var parameter: Parameter

    public init(model: String, parameter: Parameter) {
      self.model = model
      self.parameter = parameter
    }
  }

  public enum Operation: Sendable, Hashable, Codable {
    /// Carries the stored bytes of the one input.
    case copy
    /// Carries the bytes that all inputs share; if they differ, an error, or the first of counters with a warning.
    case copyIdentical
    case method(String, MergeParameters)
  }

  public var outputIndex: Int
  /// Name of the output tensor.
  public var name: String
  public var shape: [Int]
  /// The base first, where the method gives it a role.
  public var inputs: [Input]
  public var operation: Operation
  public var seed: UInt64

  /// Figures that a plan adds up.
  public private(set) var movedBytes: Int
  public private(set) var residentBytes: Int
  public private(set) var threadBytes: Int

  /// - Throws: if the method does not accept the parameters.
  public init(
    outputIndex: Int, output: OutputTensor, inputs: [Input], operation: Operation, seed: UInt64
  ) throws(Problem) {
    self.outputIndex = outputIndex
    self.name = output.name
    self.shape = output.shape
    self.inputs = inputs
    self.operation = operation
    self.seed = seed
    let stored = inputs.flatMap { $0.parameter.recipe.storedTensors }.reduce(0) { $0 + $1.byteCount }
    switch operation {
    case .copy, .copyIdentical:
      movedBytes = stored + output.byteCount
      residentBytes = 0
      threadBytes = inputs.count * (256 << 10)
    case .method(let name, let parameters):
      let method = try MergeMethods.make(name, parameters)
      let tilings = method.layouts(shape: output.shape).map {
        Tiling(elementCount: output.elementCount, blocks: $0)
      }
      movedBytes = method.passCount * stored + output.byteCount
      let factors = inputs.reduce(0) { $0 + $1.parameter.recipe.residentBytes }
      residentBytes =
        factors + method.residentBytes(shape: output.shape, inputs: inputs.count)
      threadBytes =
        tilings.map {
          TensorPasses.threadBytes(
            recipes: inputs.map(\.parameter), tiling: $0, scratchCount: method.scratchCount)
        }.max() ?? 0
    }
  }

  public func run(_ context: JobContext) throws(Problem) {
    switch operation {
    case .copy:
      guard case .stored(let tensor)? = inputs.first?.parameter.recipe else {
        throw Problem(.mergeInputs, "only stored tensors can be copied", tensor: name)
      }
      try RawCopy.copy(tensor, context: context)
    case .copyIdentical:
      let tensors = inputs.flatMap { $0.parameter.recipe.storedTensors }
      try RawCopy.copyIdentical(tensors, context: context)
    case .method(let methodName, let parameters):
      let method = try MergeMethods.make(methodName, parameters)
      var readers: [any ParameterReader] = []
      for input in inputs { readers.append(try input.parameter.recipe.reader(files: context.files)) }
      let passes = TensorPasses(
        readers: readers, names: inputs.map(\.model), shape: shape, scratchCount: method.scratchCount,
        context: context)
      try passes.hashIndirectInputs(inputs.map(\.parameter.recipe))
      try method.merge(MergePasses(tensor: passes, name: name, seed: seed))
    }
  }
}

extension MergeJob {
  /// The operation with its parameters in a fixed order, as plans print it and fingerprints compare it.
  public var operationText: String {
    switch operation {
    case .copy: return "copy"
    case .copyIdentical: return "copy identical"
    case .method(let name, let parameters):
      let shared = Self.text(parameters.shared)
      let inputs = parameters.inputs.map { "(\(Self.text($0)))" }.joined(separator: " ")
      return "\(name) \(shared) \(inputs)"
    }
  }

  private static func text(_ values: [String: ParameterValue]) -> String {
    values.keys.sorted().map { "\($0)=\(values[$0]?.description ?? "")" }.joined(separator: " ")
  }
}
