public import EspalierBasics

/// How weights are read and what is measured on them.
public struct MeasurementOptions: Sendable {
  /// Whether singular values are computed of matrices, see ``Spectrum``.
  public var spectra: Bool
  /// Threads in all; they change no figure.
  public var threads: Int
  /// The ceiling on resident memory in bytes. It changes no figure: a spectrum that does not fit is refused by name.
  public var memory: Int
  public var listener: any ProgressListener

  /// - Parameters:
  ///   - threads: the processors this process may run on, unless given.
  ///   - memory: half of what the machine or the control group has, unless given.
  public init(
    spectra: Bool = false, threads: Int = Machine.processorCount, memory: Int = Machine.memoryBytes / 2,
    listener: any ProgressListener = SilentListener()
  ) {
    self.spectra = spectra
    self.threads = threads
    self.memory = memory
    self.listener = listener
  }
}
