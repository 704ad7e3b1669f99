/// What a verb says while it works. Text, a bar or JSON lines are made of it by whoever listens.
public enum ProgressEvent: Sendable {
  /// A stage began; `totalBytes` is what it will read and write, so that a rate and the time left can be shown.
  case began(stage: String, totalBytes: Int)
  case advanced(bytes: Int)
  case ended(stage: String, seconds: Double)
  case note(String)
  case problem(Problem)
}

/// Receives events from several threads at once.
public protocol ProgressListener: Sendable {
  func receive(_ event: ProgressEvent)
}

/// Listens to nothing.
public struct SilentListener: ProgressListener {
  public init() {}
  public func receive(_ event: ProgressEvent) {}
}
