public import EspalierEvaluation

/// The protocols of texts by name.
public enum TextCutName: String, Sendable, Hashable, CaseIterable {
  case windows, sliding, rolling
  case llamaCpp = "llama.cpp"

  /// - Parameters:
  ///   - length: tokens of a window.
  ///   - stride: of ``sliding``; nil for half a window.
  public func cut(length: Int, stride: Int?) -> TextProtocol.Cut {
    switch self {
    case .windows: .windows(length: length)
    case .sliding: .sliding(length: length, stride: stride ?? length / 2)
    case .rolling: .rolling(length: length)
    case .llamaCpp: .llamaCpp(context: length)
    }
  }
}
