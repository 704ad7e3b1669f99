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

  /// What a run needs beside weights, at the least: a block's activations and the program itself.
  public static let workingMemory = 64 << 20

  public init(mode: NumericMode, pool: WorkerPool, memory: Int, families: [Architecture]) {
    self.mode = mode
    self.pool = pool
    self.memory = memory
    self.families = families
  }

  /// The network of a checkpoint, its weights kept in memory if they fit beside `others` bytes.
  ///
  /// - Throws: what ``Network`` throws for a model that is not understood.
  public func network(of checkpoint: any Checkpoint, beside others: Int = 0) throws(Problem) -> Network {
    let resident = try Network(checkpoint, architectures: families, mode: mode, residency: .resident, workers: pool)
    let needed = try resident.weightBytes() + others + Self.workingMemory
    if needed <= memory { return resident }
    return try Network(checkpoint, architectures: families, mode: mode, residency: .streamed, workers: pool)
  }
}
