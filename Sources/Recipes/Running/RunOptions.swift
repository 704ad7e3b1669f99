public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNetworks

/// How models are run: in which arithmetic, by how many threads, under which ceiling.
public struct RunOptions: Sendable {
  public var mode: NumericMode
  public var pool: WorkerPool
  /// Ceiling on resident memory in bytes. A model that does not fit is run block by block, its weights read again and
  /// again: slower, with the same results.
  public var memory: Int
  public var families: [Architecture]

  /// What a run needs beside weights, at the least: the program and a block's activations.
  static let workingMemory = 44 << 20
  /// What a vocabulary's entry needs: the tokenizer's tables, and some rows of logits.
  static let bytesPerEntry = 512
  /// States and logits of a model that is measured, while its weights stay in memory.
  static let scoringMemory = 40 << 20

  public init(mode: NumericMode, pool: WorkerPool, memory: Int, families: [Architecture]) {
    self.mode = mode
    self.pool = pool
    self.memory = memory
    self.families = families
  }

  /// The network of a checkpoint, its weights kept in memory if they fit beside all else. No weights are read.
  ///
  /// - Parameters:
  ///   - others: bytes that the caller needs for itself.
  ///   - tokens: how many the sequence has whose keys and values are kept.
  /// - Throws: what ``Network`` throws for a model that is not understood; `memory.ceiling` if not even its largest
  ///   block fits.
  public func network(
    of checkpoint: any Checkpoint, beside others: Int = 0, keeping tokens: Int = 0
  ) throws(Problem) -> Network {
    let resident = try Network(checkpoint, architectures: families, mode: mode, residency: .resident, workers: pool)
    let states = resident.stateBytes(tokens: tokens)
    let reading = try WeightFile.readingBytes(of: checkpoint.weightFiles, threads: pool.threadCount)
    let working = Self.workingMemory + (resident.entryCount ?? 0) * Self.bytesPerEntry + states + reading
    if try resident.weightBytes() + others + working + Self.scoringMemory <= memory { return resident }
    let least = try resident.largestBlockBytes() + others + working
    guard least <= memory else {
      let prompt =
        states > 0 ? ", \(ByteCount.text(states)) of it for the prompt and its answer of \(tokens) tokens" : ""
      throw Problem(
        .memoryCeiling,
        "running the model block by block takes \(ByteCount.text(least))\(prompt), and the ceiling is "
          + ByteCount.text(memory),
        remedy: states > 0 ? Self.promptRemedy : "Raise --memory.", file: checkpoint.location)
    }
    return try Network(checkpoint, architectures: families, mode: mode, residency: .streamed, workers: pool)
  }

  /// - Throws: `memory.ceiling` if the keys and values of so many tokens do not fit beside the weights.
  public func check(_ network: Network, keeping tokens: Int) throws(Problem) {
    let bytes = network.stateBytes(tokens: tokens) + (try network.residentBytes) + Self.workingMemory
    guard bytes <= memory else {
      throw Problem(
        .memoryCeiling,
        "a prompt and its answer of \(tokens) tokens take \(ByteCount.text(bytes)), and the ceiling is "
          + ByteCount.text(memory), remedy: Self.promptRemedy)
    }
  }

  private static let promptRemedy = "Raise --memory, or shorten the prompt or what may follow it."
}

extension Network {
  /// Bytes of weights that stay in memory.
  var residentBytes: Int {
    get throws(Problem) { residency == .resident ? try weightBytes() : 0 }
  }

  /// Bytes of the keys and values of so many tokens; where that is no number, one that fits nowhere.
  fileprivate func stateBytes(tokens: Int) -> Int {
    let (bytes, overflow) = tokens.multipliedReportingOverflow(by: stateBytesPerToken)
    return overflow ? Int.max / 2 : min(bytes, Int.max / 2)
  }
}
