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

extension StructuralModel {
  /// Numbers of every layer of a tower.
  func layerSizes(of tower: ModelDescription.Tower) -> [Int] {
    var sizes = [Int](repeating: 0, count: tower.layerCount)
    for parameter in checkpoint.parameters {
      guard let described = description.parameter(named: parameter.name), described.tower == tower.name,
        let layer = described.layer, ParameterCount.isCounted(described)
      else { continue }
      sizes[layer] += parameter.elementCount
    }
    return sizes
  }
}
