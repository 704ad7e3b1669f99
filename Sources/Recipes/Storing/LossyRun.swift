internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// Rounds the files of a model so that they are packed in as many bytes as are asked for.
///
/// What each tensor takes and loses is measured on a sample for many settings, then all get the same price of a byte
/// (`everett1963lagrange`). The files are rounded so, what they really take is measured, and the price is corrected until
/// that is what was asked for.
struct LossyRun {
  /// How tensors were rounded, and where the rounded files lie.
  struct Result {
    var settings: [LossyCurve.Setting]
    var losses: [ArchiveLoss.Part]
  }

  let plan: PackingPlan
  let options: LossyOptions
  let place: PackedPlace
  let workers: WorkerPool
  let listener: any ProgressListener

  /// How near the size has to be to what was asked for, and how near it is tried to be.
  private static let tolerance = 0.05
  private static let aim = 0.01
  private static let mostPasses = 8

  var tensors: [LossyTensor] { plan.lossyTensors }

  /// The rounded file of an entry.
  func path(of entry: Int) -> String { place.scratch("rounded-\(entry)") }
  var statePath: String { place.scratch("rounding") }

  /// - Returns: what an earlier run of the same request found, or what this one finds.
  /// - Throws: `pack.goal` for a size that is not reached, what reading and writing throw.
  func execute() throws(Problem) -> Result {
    if let result = earlier() { return result }
    let originals = try entries.map { (entry) throws(Problem) in try File.reading(plan.entries[entry].path) }
    var sources: [Int: File] = [:]
    for (entry, file) in zip(entries, originals) { sources[entry] = file }
    let count = tensors.reduce(0) { $0 + $1.byteCount }
    listener.receive(.began(stage: "measure", totalBytes: count))
    let bytes = options.goal.bytes(of: plan.packed.reduce(0) { $0 + $1.byteCount })
    let bits = 8 * bytes / Double(tensors.reduce(1) { $0 + ($1.twin == nil ? $1.elementCount : 0) })
    var curves: [LossyCurve] = []
    try forEachTensor { (rounding) throws(Problem) in
      // Large tensors may lose as large a share as small ones: what a share of an output is worth does not depend on the
      // numbers that make it, but a setting at which the largest vanish is no use to anyone.
      curves.append(
        try rounding.curve(
          in: source(rounding.tensor, sources), weight: Double(rounding.tensor.elementCount),
          bits: bits))
      listener.receive(.advanced(bytes: rounding.tensor.byteCount))
    }
    // In the order of tensors again.
    let order = self.order
    var sorted = curves
    for (place, index) in order.enumerated() { sorted[index] = curves[place] }
    curves = sorted

    for entry in entries { _ = try FileCopy.copy(plan.entries[entry].path, to: path(of: entry)) }
    let settings = try settle(curves, sources)
    var losses = [ArchiveLoss.Part?](repeating: nil, count: tensors.count)
    listener.receive(.began(stage: "compare", totalBytes: count))
    var indices = order[...]
    try forEachTensor { (rounding) throws(Problem) in
      guard let index = indices.popFirst() else { return }
      let tensor = rounding.tensor
      losses[index] = try rounding.loss(
        of: try File.reading(path(of: tensor.entry)), from: source(tensor, sources))
      listener.receive(.advanced(bytes: tensor.byteCount))
    }
    let result = Result(settings: settings, losses: losses.compactMap(\.self))
    for entry in entries { try File.writing(path(of: entry)).sync() }
    try FileSystem.write(try state(result).bytes(), to: statePath)
    return result
  }

  var entries: [Int] { plan.entries.indices.filter { plan.entries[$0].header != nil } }

  private func source(_ tensor: LossyTensor, _ files: [Int: File]) -> File { files[tensor.entry]! }

  /// Tensors with those of one site together, whose statistics are read once.
  private var order: [Int] {
    var first: [ExactString: Int] = [:]
    for (index, tensor) in tensors.enumerated() {
      if let site = tensor.site, first[ExactString(site)] == nil { first[ExactString(site)] = index }
    }
    func key(_ index: Int) -> Int { tensors[index].site.flatMap { first[ExactString($0)] } ?? index }
    return tensors.indices.sorted { (key($0), $0) < (key($1), $1) }
  }

  private func forEachTensor(_ body: (LossyRounding) throws(Problem) -> Void) throws(Problem) {
    var known: (site: String, statistics: SiteStatistics?)?
    for index in order {
      let tensor = tensors[index]
      if let site = tensor.site, known.map({ ExactString($0.site) != ExactString(site) }) ?? true {
        known = nil
        known = (site, try options.statistics?.statistics(of: site))
      }
      let statistics = tensor.site == nil ? nil : known?.statistics
      try body(
        LossyRounding(
          tensor, options, statistics: statistics?.width == tensor.columns ? statistics : nil, workers: workers))
    }
  }

  /// How tensors are rounded, as steps of columns by part of each entry; repeats like what they repeat.
  func lattices(_ result: Result) throws(Problem) -> [Int: [Int: [Float]]] {
    try lattices(result.settings)
  }

  private func lattices(_ settings: [LossyCurve.Setting]) throws(Problem) -> [Int: [Int: [Float]]] {
    var lattices: [Int: [Int: [Float]]] = [:]
    var indices = order[...]
    try forEachTensor { (rounding) throws(Problem) in
      guard let index = indices.popFirst() else { return }
      lattices[rounding.tensor.entry, default: [:]][rounding.tensor.part] = rounding.steps(settings[index])
    }
    return lattices
  }

  // MARK: - The size

  /// Rounds until the size is what was asked for.
  private func settle(
    _ curves: [LossyCurve], _ sources: [Int: File]
  ) throws(Problem) -> [LossyCurve.Setting] {
    let original = plan.packed.reduce(0) { $0 + $1.byteCount }
    let goal = options.goal.bytes(of: original)
    // Of repeats nothing is stored.
    let counted = tensors.indices.filter { tensors[$0].twin == nil }
    let most = counted.reduce(0) { $0 + curves[$1].mostBytes }
    let least = counted.reduce(0) { $0 + curves[$1].leastBytes }
    func choose(_ bytes: Double) -> [LossyCurve.Setting] {
      let chosen = LossyCurve.settings(of: counted.map { curves[$0] }, bytes: bytes)
      var settings = curves.map { $0.settings[0] }
      for (index, setting) in zip(counted, chosen) { settings[index] = setting }
      for (index, tensor) in tensors.enumerated() {
        if let twin = tensor.twin,
          let first = tensors.firstIndex(where: { $0.entry == tensor.entry && $0.part == twin })
        {
          settings[index] = settings[first]
        }
      }
      return settings
    }
    // What lies beside the rounded numbers is known when they have been measured once.
    // Between what was too little and what was too much.
    var (wanted, low, high) = (max(least, min(most, goal)), least - 1, most + 1)
    var best: (settings: [LossyCurve.Setting], bytes: Double)?
    for pass in 0..<Self.mostPasses {
      let settings = choose(wanted)
      let bytes = Double(try measure(settings, sources, pass: pass))
      func distance(_ bytes: Double) -> Double { Swift.abs(bytes / goal - 1) }
      if best.map({ distance(bytes) < distance($0.bytes) }) ?? true { best = (settings, bytes) }
      if distance(bytes) <= Self.aim { return settings }
      if bytes > goal { high = min(high, wanted) } else { low = max(low, wanted) }
      // What was measured is near what was wanted and something constant.
      let next = max(least, min(most, wanted + goal - bytes))
      let inside = next > low && next < high
      let last = wanted
      wanted = inside && pass < 4 ? next : (low + high) / 2
      if Swift.abs(wanted - last) < 1e-4 * goal { break }
    }
    guard let best, Swift.abs(best.bytes / goal - 1) <= Self.tolerance else {
      throw unreachable(goal: goal, nearest: best?.bytes ?? 0, original: original)
    }
    _ = try measure(best.settings, sources, pass: Self.mostPasses)
    return best.settings
  }

  /// Checks what was packed of the rounded files.
  ///
  /// - Throws: `pack.goal` if it is not as large as it was measured to be.
  func requireGoal(of bytes: Int) throws(Problem) {
    let goal = options.goal.bytes(of: plan.packed.reduce(0) { $0 + $1.byteCount })
    guard Swift.abs(Double(bytes) / goal - 1) > Self.tolerance else { return }
    throw Problem(
      .packingGoal, "\(options.goal.text) was asked for, and \(ByteCount.text(bytes)) were written",
      remedy: "Nothing was replaced. Start over with --force.", file: plan.model)
  }

  private func unreachable(goal: Double, nearest: Double, original: Int) -> Problem {
    let ratio = Decimals.text(Double(original) / max(1, nearest), 2)
    guard nearest > goal else {
      return Problem(
        .packingGoal,
        "\(options.goal.text) is more than the model takes: rounded as finely as is of use it is packed to "
          + "\(ByteCount.text(Int(nearest))), a ratio of \(ratio)",
        remedy: "Ask for less, or leave --lossy out: then nothing is lost.", file: plan.model)
    }
    return Problem(
      .packingGoal,
      "\(options.goal.text) cannot be reached: the least is \(ByteCount.text(Int(nearest.rounded(.up)))), a ratio of "
        + "\(ratio), with every number that may be rounded at 0",
      remedy: "Ask for a smaller ratio.", file: plan.model)
  }

  /// Rounds everything, and tells how many bytes that is packed in.
  private func measure(
    _ settings: [LossyCurve.Setting], _ sources: [Int: File], pass: Int
  ) throws(Problem) -> Int {
    listener.receive(.began(stage: "round", totalBytes: tensors.reduce(0) { $0 + $1.byteCount }))
    var lattices: [Int: [Int: [Float]]] = [:]
    var indices = order[...]
    try forEachTensor { (rounding) throws(Problem) in
      guard let index = indices.popFirst() else { return }
      let (tensor, setting) = (rounding.tensor, settings[index])
      lattices[tensor.entry, default: [:]][tensor.part] = rounding.steps(setting)
      if tensor.twin == nil {
        try rounding.round(setting, from: source(tensor, sources), to: try File.writing(path(of: tensor.entry)))
      }
      listener.receive(.advanced(bytes: tensor.byteCount))
    }
    for tensor in tensors { try copyTwin(of: tensor) }
    var total = 0
    for entry in entries {
      guard var header = plan.entries[entry].header else { continue }
      // As long as what will be told of it.
      header.loss = ArchiveLoss(
        parts: tensors.filter { $0.entry == entry }.map {
          ArchiveLoss.Part(part: $0.part, weightError: 0.123456, outputError: $0.site.map { _ in 0.123456 })
        })
      let writer = try ArchiveWriter(
        try File.reading(path(of: entry)), header, lattices: lattices[entry] ?? [:], to: path(of: entry),
        workers: workers)
      total += try writer.measure()
    }
    return total
  }

  /// Writes to a repeat what it repeats.
  private func copyTwin(of tensor: LossyTensor) throws(Problem) {
    guard let twin = tensor.twin,
      let first = tensors.first(where: { $0.entry == tensor.entry && $0.part == twin })
    else { return }
    let file = try File.writing(path(of: tensor.entry))
    try file.forEachPiece(of: first.offset..<first.offset + first.byteCount) { (piece, offset) throws(Problem) in
      try file.write(piece, at: tensor.offset + offset - first.offset)
    }
  }
}
