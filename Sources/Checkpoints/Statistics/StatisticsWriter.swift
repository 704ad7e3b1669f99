public import EspalierBasics
internal import EspalierNumerics

/// Writes a file of statistics block by block, under a temporary name until it is whole.
///
/// `NAME.partial` has its final layout from the start. A block's statistics are made durable before the block is marked
/// as finished, so that after a cut the marks say what is there.
public final class StatisticsWriter {
  public let layout: StatisticsLayout
  private let path: String
  private let file: File
  private let dataStart: Int
  private let offsets: [ExactString: Int]
  /// Blocks that an earlier run finished.
  public private(set) var finishedBlocks: Set<Int> = []

  public static func partialPath(for path: String) -> String { path + ".partial" }

  /// What stands in the way of writing to `path`, found without touching anything.
  public static func obstacle(at path: String, resume: Bool, force: Bool) -> Problem? {
    if FileSystem.kind(path) != nil, !force {
      return Problem(
        .statisticsExist, "the output exists already",
        remedy: "Choose another name, or give --force to replace it once the new one is complete.", file: path)
    }
    // Nothing is replaced that is no file of statistics.
    for path in [path, partialPath(for: path)]
    where FileSystem.kind(path) != nil && (try? StatisticsFile.header(path)) == nil {
      return Problem(
        .statisticsExist, "there is something that is no file of statistics; --force does not replace it",
        remedy: "Choose another name, or remove it yourself.", file: path)
    }
    if FileSystem.kind(partialPath(for: path)) != nil, !resume, !force {
      return Problem(
        .statisticsExist, "an unfinished output of an earlier run is there",
        remedy: "Continue it with --resume, or start over with --force.", file: partialPath(for: path))
    }
    return nil
  }

  /// Begins a file, or continues one.
  ///
  /// - Parameters:
  ///   - resume: continue an unfinished file, if there is one of the same layout and record.
  ///   - force: replace what is at `path` when the new file is whole, and start over where one is unfinished.
  /// - Throws: `statistics.exists`; `statistics.mismatch` if the unfinished file is of another run; `file.locked`.
  public init(_ layout: StatisticsLayout, to path: String, resume: Bool = false, force: Bool = false) throws(Problem) {
    if let problem = Self.obstacle(at: path, resume: resume, force: force) { throw problem }
    self.layout = layout
    self.path = path
    let header = layout.header()
    dataStart = header.count
    let (offsets, end) = layout.offsets()
    self.offsets = offsets
    let partial = Self.partialPath(for: path)
    let continues = resume && FileSystem.kind(partial) != nil
    try FileSystem.createParents(of: path)
    file = try File.writing(partial)
    guard file.tryLock() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.",
        file: partial)
    }
    if continues {
      let size = try file.size()
      guard size == dataStart + end, try file.read(dataStart, at: 0) == header else {
        throw Problem(
          .statisticsMismatch,
          "the unfinished file is of another run: the model, the texts, how they are cut, the mode or what is kept "
            + "differs",
          remedy: "Start over with --force, or give the arguments it was begun with.", file: partial)
      }
      let marks = try doubles(layout.blocks.count, at: "blocks.finished")
      finishedBlocks = Set(marks.indices.filter { marks[$0] == 1 })
    } else {
      try file.resize(to: 0)
      try file.write(header, at: 0)
      try file.resize(to: dataStart + end)
    }
  }

  private func offset(of tensor: String) -> Int { dataStart + (offsets[ExactString(tensor)] ?? 0) }

  private func doubles(_ count: Int, at tensor: String) throws(Problem) -> [Double] {
    try file.read(8 * count, at: offset(of: tensor)).withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
  }

  private func write(_ values: UnsafeBufferPointer<Double>, to tensor: String, skipping: Int = 0) throws(Problem) {
    try file.write(UnsafeRawBufferPointer(values), at: offset(of: tensor) + 8 * skipping)
  }

  private func write(_ values: [Double], to tensor: String, skipping: Int = 0) throws(Problem) {
    try values.withUnsafeBufferPointer { (values) throws(Problem) in
      try write(values, to: tensor, skipping: skipping)
    }
  }

  public func write(_ statistics: FinishedStatistics, of site: String) throws(Problem) {
    let (sums, width) = (UnsafeBufferPointer(statistics.sums.values(of: Double.self)), statistics.width)
    try write([Double(statistics.count)], to: "\(site).count")
    for (index, name) in ["sum", "square_sum", "absolute_sum"].enumerated() {
      try write(UnsafeBufferPointer(rebasing: sums[index * width..<(index + 1) * width]), to: "\(site).\(name)")
    }
    var first = 0
    for (index, block) in statistics.shape.blocks.enumerated() {
      let end = first + block.count * block.count
      try write(
        UnsafeBufferPointer(rebasing: statistics.moments.values(of: Double.self)[first..<end]),
        to: statistics.shape.blocks.count == 1 ? "\(site).moment" : "\(site).moment.\(index)")
      first = end
    }
  }

  public func write(_ statistics: SiteStatistics, of site: StatisticsLayout.Site) throws(Problem) {
    try write([Double(statistics.count)], to: "\(site.name).count")
    try write(statistics.squareSums, to: "\(site.name).square_sum")
    if site.hasSums {
      try write(statistics.sums, to: "\(site.name).sum")
      try write(statistics.absoluteSums, to: "\(site.name).absolute_sum")
    }
    switch statistics.moment {
    case .full(let matrix): try write(matrix.elements, to: "\(site.name).moment")
    case .blocks(let matrices):
      for (index, matrix) in matrices.enumerated() {
        try write(matrix.elements, to: matrices.count == 1 ? "\(site.name).moment" : "\(site.name).moment.\(index)")
      }
    case .sketch, nil: break
    }
  }

  /// Marks a block as finished: everything of its sites was written.
  ///
  /// - Parameters:
  ///   - rows: that went through it, and the sum of the cosines between what entered and what left; 0 where that means
  ///     nothing.
  public func finish(block: Int, rows: Int = 0, cosines: Double = 0) throws(Problem) {
    try write([Double(rows), cosines], to: "blocks.similarity", skipping: 2 * block)
    try file.sync()
    try write([1], to: "blocks.finished", skipping: block)
    try file.sync()
  }

  /// Gives the file its name.
  public func finish() throws(Problem) {
    try file.sync()
    try FileSystem.rename(file.path, to: path)
    try FileSystem.syncFolder(FileSystem.parent(of: path))
  }
}
