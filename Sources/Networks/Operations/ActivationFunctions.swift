internal import CKernels
internal import EspalierBasics

extension es_activation {
  /// The activation function that a config calls `name`, by the names of transformers.
  ///
  /// - Throws: `network.program` naming a function that is not there.
  init(named name: String) throws(Problem) {
    switch name {
    case "linear": self = .linear
    case "relu": self = .relu
    case "relu2": self = .relu_squared
    case "relu6": self = .relu6
    case "leaky_relu": self = .leaky_relu
    case "silu", "swish": self = .silu
    case "gelu", "gelu_python": self = .gelu
    case "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh":
      self = .gelu_tanh
    case "quick_gelu": self = .gelu_quick
    case "gelu_10": self = .gelu_10
    case "tanh": self = .tanh
    case "sigmoid": self = .sigmoid
    case "mish": self = .mish
    case "hardswish": self = .hard_swish
    default:
      throw Problem(.networkProgram, "the activation function `\(name)` is not one this version computes")
    }
  }
}
