public import EspalierBasics
public import EspalierCheckpoints
public import EspalierExecution
public import EspalierMerging

/// What the user asks of a merge beside the recipe.
public struct MergeOptions: Sendable {
  /// The folder to write.
  public var output: String
  /// What the model card calls the model; nil for the folder's name.
  public var title: String?
  public var seed: UInt64 = 0
  public var threads = Machine.processorCount
  /// Ceiling on resident memory, in bytes; half of what the machine has unless said otherwise.
  public var memory = Machine.memoryBytes / 2
  /// Largest size of a weight file, in bytes.
  public var shardBytes = 5_000_000_000
  public var policy = OutputFolder.Policy()
  public var allowsNonFinite = false
  /// Whether the manifest has SHA-256 of the weight files too.
  public var sha256 = false
  /// A folder in which names of models are looked up.
  public var models: String?
  /// Files with descriptions of further families.
  public var architectures: [String] = []

  public init(output: String) { self.output = output }
}

/// Everything about a merge that is known before a weight is read.
public struct MergePlan: Sendable {
  /// What the output is made by.
  public enum Verb: String, Sendable { case merge, convert, materialize, reduce, restructure, align, renormalize }

  public struct Model: Sendable {
    public var reference: ModelReference
    public var checkpoint: any Checkpoint
    /// Name of its family, or nil.
    public var family: String?
  }

  public var verb = Verb.merge
  public var recipe: Recipe
  /// The recipe as it was written.
  public var text: String
  public var options: MergeOptions
  public var models: [Model]
  public var layout: OutputLayout
  public var jobs: [MergeJob]
  /// Tensors merged that their family's description does not name.
  public var unknownTensors: [String]
  public var warnings: [Problem]
  /// Small files of the output: config, tokenizer, and so on; manifest and model card come at the end.
  public var smallFiles: [(name: String, bytes: [UInt8])]
  /// Files that tell of seconds, which the manifest does not name: two runs of one recipe differ in nothing else.
  public var reports: [(name: String, bytes: [UInt8])] = []
  public var memory: JobRunner.MemoryPlan

  /// Bytes read and written.
  public var movedBytes: Int { jobs.reduce(0) { $0 + $1.movedBytes } }
}
