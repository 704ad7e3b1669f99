public import EspalierArchitectures
public import EspalierCheckpoints

/// Numbers of a model: every value that is stored and learnt, shared ones once, buffers not.
public enum ParameterCount {
  /// All of a model.
  public static func of(_ checkpoint: any Checkpoint, described description: ModelDescription) -> Int {
    checkpoint.parameters.reduce(0) { sum, parameter in
      guard let described = description.parameter(named: parameter.name) else { return sum + parameter.elementCount }
      return sum + (isCounted(described) ? parameter.elementCount : 0)
    }
  }

  /// Whether a parameter's values count: a copy of a tied one does not, nor does a buffer.
  static func isCounted(_ parameter: ParameterDescription) -> Bool {
    parameter.role.part != .buffer && parameter.tiedTo == nil
  }
}
