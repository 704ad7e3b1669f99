public import EspalierBasics
internal import EspalierCheckpoints
internal import Synchronization

/// One output tensor's work, as data: what it reads, what it needs, how to do it.
public protocol TensorJob: Sendable {
  /// Index of the tensor in the output layout.
  var outputIndex: Int { get }
  /// Bytes that the job reads and writes in all its passes, for progress and for the order of jobs.
  var movedBytes: Int { get }
  /// Memory of the job as a whole while it runs, beside the working arrays of threads.
  var residentBytes: Int { get }
  /// Working arrays of each thread that takes part.
  var threadBytes: Int { get }
  func run(_ context: JobContext) throws(Problem)
}

/// Runs tensor jobs: the largest first, as many at once as threads and memory allow.
public struct JobRunner: Sendable {
  public var threads: Int
  /// The ceiling on resident memory, in bytes.
  public var memory: Int
  public var allowsNonFinite: Bool
  public var listener: any ProgressListener

  public init(threads: Int, memory: Int, allowsNonFinite: Bool, listener: any ProgressListener) {
    self.threads = threads
    self.memory = memory
    self.allowsNonFinite = allowsNonFinite
    self.listener = listener
  }

  /// What the program itself takes before any job: code, libraries, headers already read.
  public static let baseBytes = 48 << 20

  /// What a run will take at most and what it may.
  public struct MemoryPlan: Sendable {
    /// Threads that fit under the ceiling, at most those asked for.
    public var threads: Int
    public var predictedPeak: Int
    /// What jobs share beside the threads' working arrays.
    public var jobCapacity: Int
  }

  /// What reading inputs takes beside what they are read into: nothing, if none of them is packed.
  public struct ReadingMemory: Sendable {
    public var shared = 0
    public var threadBytes = 0

    public init() {}

    /// - Throws: what reading headers throws.
    public init(of files: [String]) throws(Problem) {
      let one = try WeightFile.readingBytes(of: files, threads: 1)
      guard one > 0 else { return }
      threadBytes = try WeightFile.readingBytes(of: files, threads: 2) - one
      shared = one - threadBytes
    }
  }

  /// Plans memory for jobs.
  ///
  /// - Parameters:
  ///   - headerBytes: of headers and other small things that stay while the run lasts.
  ///   - reading: what the inputs take for themselves.
  /// - Throws: ``Problem/Code/memoryCeiling``, naming the tensor that does not fit and the least that would do.
  public func plan(
    _ jobs: [some TensorJob], layout: OutputLayout, headerBytes: Int, reading: ReadingMemory = ReadingMemory()
  ) throws(Problem) -> MemoryPlan {
    let fixed = Self.baseBytes + headerBytes + reading.shared
    guard let largest = jobs.max(by: { $0.residentBytes + $0.threadBytes < $1.residentBytes + $1.threadBytes }) else {
      return MemoryPlan(threads: threads, predictedPeak: fixed, jobCapacity: 0)
    }
    let least = fixed + largest.residentBytes + largest.threadBytes + reading.threadBytes
    guard least <= memory else {
      throw Problem(
        .memoryCeiling,
        "the tensor needs \(ByteCount.text(least)) and --memory allows \(ByteCount.text(memory))",
        remedy: "Give --memory \((least >> 20) + 1)M or more.", tensor: layout.tensors[largest.outputIndex].name)
    }
    let perThread = (jobs.map(\.threadBytes).max() ?? 0) + reading.threadBytes
    let resident = jobs.map(\.residentBytes).max() ?? 0
    let affordable = perThread == 0 ? threads : (memory - fixed - resident) / perThread
    let count = max(1, min(threads, affordable))
    guard count > 1 else {
      // One job at a time: what the largest needs is enough, though it be another that wants most for a thread.
      return MemoryPlan(threads: 1, predictedPeak: least, jobCapacity: resident)
    }
    let capacity = memory - fixed - count * perThread
    let together = jobs.map(\.residentBytes).sorted(by: >).prefix(count).reduce(0, +)
    return MemoryPlan(
      threads: count, predictedPeak: fixed + count * perThread + min(together, capacity), jobCapacity: capacity)
  }

  /// Runs every job whose tensor the journal does not hold already.
  ///
  /// - Returns: the number of tensors taken over from an earlier run.
  public func run(
    _ jobs: [some TensorJob], into output: OutputFolder, plan: MemoryPlan
  ) throws(Problem) -> Int {
    let pool = WorkerPool(threads: plan.threads)
    defer { pool.stop() }
    let ledger = MemoryLedger(capacity: max(0, plan.jobCapacity))
    let files = FilePool()
    // Largest first, so that no large tensor is left for the end; ties by position.
    let order = jobs.indices.sorted { (jobs[$1].movedBytes, $0) < (jobs[$0].movedBytes, $1) }
    let kept = Atomic<Int>(0)
    try pool.forEach(order.count) { (position) throws(Problem) in
      let job = jobs[order[position]]
      if try output.verifiedRecord(of: job.outputIndex) != nil {
        kept.add(1, ordering: .relaxed)
        listener.receive(.advanced(bytes: job.movedBytes))
        return
      }
      let context = JobContext(
        outputIndex: job.outputIndex, output: output, pool: pool, files: files, allowsNonFinite: allowsNonFinite,
        listener: listener)
      try ledger.withReservation(of: job.residentBytes) { () throws(Problem) in try job.run(context) }
      guard let record = context.record() else {
        throw Problem(.fileWrite, "the job wrote nothing", tensor: context.outputTensor.name)
      }
      try output.finish(record)
    }
    return kept.load(ordering: .relaxed)
  }
}
