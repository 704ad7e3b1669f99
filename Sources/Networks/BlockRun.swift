internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

/// Runs texts through a network one block after another, all texts through a block before the next one begins, and
/// shows the rows that reach its matrices.
///
/// What goes from block to block stays in memory, or lies in a file while its turn is not come. The rows of a site come
/// in the order of the texts, whatever runs together. One thread uses it at a time.
public final class BlockRun {
  public typealias Observer = (_ site: String, _ rows: MatrixView<Float>) throws(Problem) -> Void

  /// How far a block turns its rows, over all of them.
  public struct Similarity: Sendable, Hashable {
    public var count = 0
    /// Of the cosines between what enters and what leaves.
    public var sum = 0.0

    public init() {}
  }

  /// Texts that run together.
  private final class Group {
    let execution: Execution
    let firstRow: Int
    let rows: Int
    /// Slots that lie in the file: place, width, rows, first byte.
    var stored: [(slot: Int, width: Int, segments: Segments, offset: Int)] = []

    init(_ execution: Execution, firstRow: Int, rows: Int) {
      self.execution = execution
      self.firstRow = firstRow
      self.rows = rows
    }
  }

  private let network: Network
  private let groups: [Group]
  private let file: File?
  private let workspace = Workspace()
  private var next = 0

  /// - Parameters:
  ///   - sequences: tokens of each text.
  ///   - path: a file for what goes from block to block; it has no name any more when this returns, and no bytes when
  ///     the run ends. Nil: it stays in memory.
  /// - Throws: `network.input` for what does not fit the network.
  public init(_ network: Network, sequences: [[Int32]], spillingTo path: String? = nil) throws(Problem) {
    self.network = network
    guard network.plan.slot("tokens") != nil, network.plan.slot("decoderTokens") == nil else {
      throw Problem(
        .networkInput,
        "a network of the family \(network.program.architecture) does not read one text, which is what runs block by block"
      )
    }
    var groups: [Group] = []
    var (first, row) = (0, 0)
    while first < sequences.count {
      var (end, rows) = (first, 0)
      while end < sequences.count, rows == 0 || rows + sequences[end].count <= network.rowsTogether {
        rows += sequences[end].count
        end += 1
      }
      let inputs = try NetworkInputs(tokens: Array(sequences[first..<end])).activations(
        skipping: network.program.positionsSkip)
      groups.append(
        Group(
          Execution(network.plan, run: network.operationRun(workspace), inputs: inputs), firstRow: row,
          rows: rows))
      (first, row) = (end, row + rows)
    }
    self.groups = groups
    if let path {
      let file = try File.writing(path, truncate: true)
      try FileSystem.remove(path)
      self.file = file
    } else {
      file = nil
    }
  }

  /// Shows the rows that reach some sites of the next block, which then runs again from what it began with: what lies
  /// behind the last of them is not computed.
  ///
  /// - Parameters: as those of ``runBlock(repeats:weightsOf:progress:observe:)``.
  public func showBlock(
    sites: [String], progress: (Int) -> Void = { _ in }, observe: @escaping Observer
  ) throws(Problem) {
    guard next < network.plan.sections.count else { return }
    let section = network.plan.sections[next]
    let wanted = Set(sites.map { ExactString($0) })
    let shown = section.sites.map { site in site.flatMap { wanted.contains(ExactString($0)) ? $0 : nil } }
    let parameters = section.isOneMap ? nil : try network.parameters(of: section)
    for group in groups {
      try fetch(group)
      if let parameters {
        let execution = try group.execution.copy()
        try execution.show(section, parameters: parameters, to: InputObserver(sites: shown, body: observe))
        execution.finish()
      } else {
        try show(section, shown, of: group.execution, observe)
      }
      try store(group, isChanged: false)
      progress(group.rows)
    }
  }

  /// Runs the next block.
  ///
  /// - Parameters:
  ///   - repeats: whether this is not the last time: the block runs again, from what it began with.
  ///   - other: the same network with other weights, which the block runs with; nil for those of its own.
  ///   - progress: called with the rows of a group that has gone through.
  ///   - observe: the memory is the network's again when it returns.
  /// - Returns: of a layer.
  /// - Throws: what operations and `observe` throw.
  public func runBlock(
    repeats: Bool = false, weightsOf other: Network? = nil, progress: (Int) -> Void = { _ in }, observe: Observer?
  ) throws(Problem) -> Similarity? {
    guard next < network.plan.sections.count else { return nil }
    let section = network.plan.sections[next]
    let parameters = section.isOneMap ? nil : try (other ?? network).parameters(of: section)
    var similarity = Similarity()
    for group in groups {
      try fetch(group)
      let execution = repeats ? try group.execution.copy() : group.execution
      try run(section, parameters, on: execution, observe: observe, similarity: &similarity)
      if repeats || next + 1 == network.plan.sections.count { execution.finish() }
      try store(group, isChanged: !repeats)
      progress(group.rows)
    }
    if !repeats { next += 1 }
    return section.isLayer ? similarity : nil
  }

  private func run(
    _ section: Plan.Section, _ parameters: LoadedParameters?, on execution: Execution, observe: Observer?,
    similarity: inout Similarity
  ) throws(Problem) {
    guard let parameters else {
      if let observe { try show(section, section.sites, of: execution, observe) }
      return
    }
    let slot = section.isLayer && observe != nil ? section.outputs.first?.slot : nil
    let before = try slot.flatMap { execution.slots[$0]?.floats }.map { (x) throws(Problem) in
      let copy = try workspace.take(x.count)
      copy.address.copyMemory(from: x.floats, byteCount: x.count * MemoryLayout<Float>.stride)
      return Activation(buffer: copy, width: x.width, segments: x.segments)
    }
    execution.run.inputs = observe.map { InputObserver(sites: section.sites, body: $0) }
    try execution.run(section, parameters: parameters)
    execution.run.inputs = nil
    guard let slot, let before else { return }
    if let after = execution.slots[slot]?.floats, after.width == before.width, after.rows == before.rows {
      let cosines = try RowMoments.cosines(
        before.floats, after.floats, rows: after.rows, width: after.width, parallel: execution.run.parallel)
      similarity.count += cosines.count
      for cosine in cosines { similarity.sum += cosine }
    }
    workspace.giveBack(before)
  }

  /// What enters a section that is one map.
  private func show(
    _ section: Plan.Section, _ sites: [String?], of execution: Execution, _ observe: Observer
  ) throws(Problem) {
    guard let slot = section.steps.first?.inputs.first, let x = execution.slots[slot]?.floats else { return }
    for case let site? in sites { try observe(site, try MatrixView(x.view, rows: x.rows, columns: x.width)) }
  }

  // MARK: - The file

  private func fetch(_ group: Group) throws(Problem) {
    guard let file else { return }
    for (slot, width, segments, offset) in group.stored {
      let count = segments.rows * width
      let buffer = try workspace.take(count)
      try file.read(
        into: UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<(count * MemoryLayout<Float>.stride)]), at: offset
      )
      group.execution.set(slot, Activation(buffer: buffer, width: width, segments: segments))
    }
  }

  private func store(_ group: Group, isChanged: Bool) throws(Problem) {
    guard let file else { return }
    if isChanged { group.stored = [] }
    var offset = group.firstRow * network.carriedBytesPerToken
    for (slot, value) in group.execution.slots.enumerated() {
      guard let value = value?.floats else { continue }
      let bytes = value.count * MemoryLayout<Float>.stride
      guard offset + bytes <= (group.firstRow + group.rows) * network.carriedBytesPerToken else {
        throw Problem(
          .networkProgram, "what goes from block to block is not of the texts' rows, so that it cannot leave memory",
          remedy: "Raise --memory.")
      }
      if isChanged {
        try file.write(UnsafeRawBufferPointer(rebasing: value.buffer.bytes[..<bytes]), at: offset)
        group.stored.append((slot, value.width, value.segments, offset))
      }
      offset += bytes
      workspace.giveBack(value)
      group.execution.set(slot, nil)
    }
  }
}

// MARK: - Memory

extension Network {
  /// Tokens that go through a block together: as many as keep its widest activation within 2 MB, so that what one
  /// operation wrote the next still finds in a cache, but enough that packing a weight pays.
  var rowsTogether: Int { max(128, min(1024, (1 << 19) / plan.widest)) }

  /// Bytes that go from block to block with every token.
  public var carriedBytesPerToken: Int { plan.carriedWidth * MemoryLayout<Float>.stride }

  /// Bytes of activations while a group of texts goes through a block, at most.
  ///
  /// - Parameter longest: tokens of the longest text.
  public func groupBytes(longest: Int) -> Int {
    let rows = max(rowsTogether, longest)
    let width = plan.sections.reduce(0) { $1.isOneMap ? $0 : max($0, $1.width) }
    // An operation's own rows (keys in pages, an expert's) are no more than those of all slots.
    return 2 * rows * width * MemoryLayout<Float>.stride
  }
}
