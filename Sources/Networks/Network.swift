public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
internal import EspalierNumerics
internal import Synchronization

/// A model that runs: the program of its family over the parameters of a checkpoint.
///
/// Sequences are run side by side without padding, and every result is that of the sequence alone, to the bit in
/// ``NumericMode/exact``: it depends neither on the sequences beside it, nor on threads, nor on how weights are kept.
public final class Network: Sendable {
  /// Where weights are while the network runs.
  public enum Residency: Sendable, Hashable {
    /// In memory, as they are stored, from their first use on.
    case resident
    /// In memory while their block runs; many sequences go through a block before the next one is read.
    case streamed
  }

  public let program: ModelProgram
  public let mode: NumericMode
  public let config: JSON
  public let residency: Residency
  let plan: Plan
  let store: ParameterStore
  let pool: WorkerPool
  /// What runs it.
  public var workers: WorkerPool { pool }
  let rotary: RotaryTables
  /// Sections before the heads, and the heads.
  let trunk: [Plan.Section]
  let heads: [Plan.Section]
  /// Names of stored parameters that running the network does not read, in their order: layers beyond those that the
  /// config asks for, a head of another task. Buffers that follow from the config, and copies of what is read, are not
  /// among them.
  public let unreadParameters: [String]
  private let location: String
  /// What all sections ask for, one entry a use.
  private let requests: [ParameterRequest]
  /// The parameters of sections that have run, if they stay: a token should not look for them by name.
  private let loaded: Mutex<[Int: LoadedParameters]> = Mutex([:])
  private let workspaces: Mutex<[Workspace]> = Mutex([])

  /// Reads no weights: what is missing or of a wrong shape is found from headers.
  ///
  /// - Parameters:
  ///   - architectures: the families to recognise the config by.
  ///   - workers: shared with whatever else runs.
  /// - Throws: `architecture.config`, `architecture.unsupported` for what the config asks and no program computes,
  ///   `network.parameter` for what the checkpoint lacks.
  public init(
    _ checkpoint: any Checkpoint, architectures: [Architecture] = Architecture.builtIn(), mode: NumericMode = .exact,
    residency: Residency = .resident, workers: WorkerPool
  ) throws(Problem) {
    guard let config = checkpoint.config else {
      throw Network.withoutConfig(checkpoint)
    }
    guard let architecture = Architecture.recognise(config: config, among: architectures) else {
      throw Problem(
        .architectureUnsupported,
        "no family is known for the model type `\(config["model_type"]?.string ?? "")`", file: checkpoint.location)
    }
    do throws(Problem) {
      program = try architecture.program(config: config)
      let store = ParameterStore(
        checkpoint, description: program.description, isResident: residency == .resident)
      self.store = store
      plan = try Plan(program) { (name) throws(Problem) in try store.find(name) != nil }
    } catch {
      let isGGUF = checkpoint.weightFiles.first.map { GGUFFiles.isModel($0) } ?? false
      throw (isGGUF ? error.inGGUFMetadata : error).at(file: checkpoint.location)
    }
    self.config = config
    self.mode = mode
    self.residency = residency
    pool = workers
    rotary = RotaryTables(plan.frequencies)
    trunk = plan.sections.filter { $0.part != .head }
    heads = plan.sections.filter { $0.part == .head }
    requests = plan.sections.flatMap(\.requests)
    let store = self.store
    var read: Set<ExactString> = []
    for request in requests {
      do throws(Problem) {
        let source = try store.source(of: request)
        for name in [request.name, source.description.name, source.parameter.name] { read.insert(ExactString(name)) }
      } catch { throw error.at(file: checkpoint.location) }
    }
    location = checkpoint.location
    unreadParameters = checkpoint.parameters.map(\.name).filter { store.isUnread($0, besides: read) }
  }

  /// Why weights without a config cannot run: opening a GGUF file found that no family fits it.
  private static func withoutConfig(_ checkpoint: any Checkpoint) -> Problem {
    if let found = checkpoint.warnings.first(where: { $0.code == .ggufMetadata }) {
      return Problem(
        .architectureUnsupported, found.message, remedy: "What no family describes cannot be run.",
        file: checkpoint.location)
    }
    return Problem(
      .architectureConfig, "there is no config.json, so the weights are of no known network",
      file: checkpoint.location)
  }

  /// What whoever runs the network should be told: ``unreadParameters``, if there are any.
  public var warnings: [Problem] {
    guard !unreadParameters.isEmpty else { return [] }
    let (count, more) = (unreadParameters.count, unreadParameters.count > 4 ? ", ..." : "")
    return [
      Problem(
        .networkParameter,
        "\(count) stored \(count == 1 ? "tensor is" : "tensors are") read by nothing: "
          + unreadParameters.prefix(4).joined(separator: ", ") + more,
        remedy: "The config asks for fewer layers or another head than there are.", file: location,
        severity: .warning)
    ]
  }

  /// Bytes of all weights as they are kept in memory, tied ones once.
  public func weightBytes() throws(Problem) -> Int { try store.byteCount(of: requests) }

  /// Bytes of the weights of the largest block, which is what streaming keeps in memory.
  public func largestBlockBytes() throws(Problem) -> Int {
    var largest = 0
    for section in plan.sections { largest = max(largest, try store.byteCount(of: section.requests)) }
    return largest
  }

  /// Names of the parameters that running the network reads, one entry a use.
  public var parametersRead: [String] { requests.map(\.name) }

  /// Runs `body` with memory for activations, which later runs use again.
  func withWorkspace<T>(_ body: (Workspace) throws(Problem) -> T) throws(Problem) -> T {
    let workspace = workspaces.withLock { $0.popLast() } ?? Workspace()
    defer { workspaces.withLock { $0.append(workspace) } }
    return try body(workspace)
  }

  func operationRun(_ workspace: Workspace, states: [SequenceState]? = nil) -> OperationRun {
    OperationRun(pool: pool, workspace: workspace, mode: mode, states: states, rotary: rotary)
  }

  func parameters(of section: Plan.Section) throws(Problem) -> LoadedParameters {
    guard residency == .resident else { return try store.load(section.requests, of: requests, pool: pool) }
    if let known = loaded.withLock({ $0[section.index] }) { return known }
    let parameters = try store.load(section.requests, of: requests, pool: pool)
    loaded.withLock { $0[section.index] = parameters }
    return parameters
  }

  /// The state of a sequence that has not begun.
  func emptyState() -> SequenceState { SequenceState(operations: plan.stateCount) }

  /// Runs batches through sections: batch after batch where weights stay, section after section where they stream.
  func run(
    _ sections: [Plan.Section], _ executions: [Execution],
    observe: ((Int, String, Activation) throws(Problem) -> Void)? = nil,
    finished: (Int, Execution) throws(Problem) -> Void
  ) throws(Problem) {
    func pass(_ index: Int, _ section: Plan.Section, _ parameters: LoadedParameters) throws(Problem) {
      try executions[index].run(section, parameters: parameters) { (name, value) throws(Problem) in
        try observe?(index, name, value)
      }
    }
    if residency == .resident {
      for index in executions.indices {
        for section in sections { try pass(index, section, try parameters(of: section)) }
        try finished(index, executions[index])
      }
    } else {
      for section in sections {
        let parameters = try parameters(of: section)
        for index in executions.indices { try pass(index, section, parameters) }
      }
      for index in executions.indices { try finished(index, executions[index]) }
    }
  }
}
