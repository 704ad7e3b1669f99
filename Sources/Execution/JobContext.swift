public import EspalierBasics
public import EspalierCheckpoints
internal import Synchronization

/// What a running job is given: its place in the output, the threads, and where to report what it read and wrote.
public final class JobContext: Sendable {
  public let outputIndex: Int
  public let outputTensor: OutputTensor
  public let pool: WorkerPool
  public let files: FilePool
  public let allowsNonFinite: Bool
  private let output: OutputFolder
  private let listener: any ProgressListener
  private let state = Mutex<(inputs: [TensorRecord.Input], digest: Digest?, figures: JSON?)>(([], nil, nil))

  init(
    outputIndex: Int, output: OutputFolder, pool: WorkerPool, files: FilePool, allowsNonFinite: Bool,
    listener: any ProgressListener
  ) {
    self.outputIndex = outputIndex
    self.outputTensor = output.layout.tensors[outputIndex]
    self.output = output
    self.pool = pool
    self.files = files
    self.allowsNonFinite = allowsNonFinite
    self.listener = listener
  }

  /// Notes the digest of a stored tensor that was read whole.
  public func read(_ tensor: StoredTensor, _ digest: Digest) {
    state.withLock {
      $0.inputs.append(.init(file: tensor.file, tensor: tensor.name, digest: digest))
    }
  }

  /// Writes bytes of the output tensor.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Problem) {
    try output.write(bytes, tensor: outputIndex, at: offset)
    listener.receive(.advanced(bytes: bytes.count))
  }

  /// Notes the digest of the output tensor, once all of it is written.
  public func written(_ digest: Digest) { state.withLock { $0.digest = digest } }

  /// Takes the digest of the output tensor from what was written: for bytes whose order the digest's pieces do not share.
  public func hashWritten() throws(Problem) { written(try output.digest(ofWritten: outputIndex)) }

  /// Notes what a report is to tell of the tensor; it is kept with what is finished.
  public func note(_ figures: JSON) { state.withLock { $0.figures = figures } }

  /// Reports something suspicious that does not stop the job.
  func warn(_ problem: Problem) { listener.receive(.problem(problem)) }

  /// The record for the journal; nil if the job wrote nothing.
  func record() -> TensorRecord? {
    state.withLock { state in
      guard let digest = state.digest else { return nil }
      let inputs = state.inputs.sorted { ($0.file, $0.tensor) < ($1.file, $1.tensor) }
      return TensorRecord(tensor: outputTensor.name, digest: digest, inputs: inputs, figures: state.figures)
    }
  }
}
