internal import EspalierBasics
internal import Synchronization

/// Reads a parameter whose rows come from rows of others.
final class GatheredReader: ParameterReader {
  let elementCount: Int
  private let rowLength: Int
  private let sources: [any ParameterReader]
  private let runs: [RowRun]
  /// The first row of each run, and the number of rows behind the last.
  private let starts: [Int]
  private let averageRow = Mutex<[Float]?>(nil)

  init(runs: [RowRun], sources: [StorageRecipe], shape: [Int], files: FilePool) throws(Problem) {
    self.runs = runs
    rowLength = shape.dropFirst().reduce(1, *)
    elementCount = shape.reduce(1, *)
    starts = runs.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    var readers: [any ParameterReader] = []
    for source in sources { readers.append(try source.reader(files: files)) }
    self.sources = readers
  }

  var residentBytes: Int { sources.reduce(runs.count * MemoryLayout<RowRun>.stride) { $0 + $1.residentBytes } }

  func scratchBytes(for count: Int) -> Int {
    Self.scratchBytes(for: count, rowLength: rowLength) { count in
      sources.map { $0.scratchBytes(for: count) }.max() ?? 0
    }
  }

  /// Room for one row and for the sources' own scratch.
  static func scratchBytes(for count: Int, rowLength: Int, sources: (Int) -> Int) -> Int {
    alignedFloatBytes(rowLength) + sources(max(count, rowLength))
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard rowLength > 0, !range.isEmpty else { return }
    let row = scratch.assumingMemoryBound(to: Float.self)
    let inner = scratch + alignedFloatBytes(rowLength)
    var element = range.lowerBound
    var run = runIndex(of: element / rowLength)
    while element < range.upperBound {
      while starts[run + 1] <= element / rowLength { run += 1 }
      let end = min(range.upperBound, starts[run + 1] * rowLength)
      let into = destination + (element - range.lowerBound)
      let offset = element - starts[run] * rowLength
      switch runs[run] {
      case .rows(let source, let first, _):
        let start = first * rowLength + offset
        try sources[source].read(start..<(start + end - element), into: into, scratch: inner)
      case .zeros: into.update(repeating: 0, count: end - element)
      case .mean(let references):
        try mean(references, elements: offset..<(offset + end - element), into: into, row: row, scratch: inner)
      case .averages:
        let average = try average(row: row, scratch: inner)
        for index in 0..<(end - element) { into[index] = average[(offset + index) % rowLength] }
      }
      element = end
    }
  }

  private func mean(
    _ references: [RowReference], elements: Range<Int>, into destination: UnsafeMutablePointer<Float>,
    row: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    var sums = [Double](repeating: 0, count: elements.count)
    for reference in references {
      let start = reference.row * rowLength
      let range = (start + elements.lowerBound)..<(start + elements.upperBound)
      try sources[reference.source].read(range, into: row, scratch: scratch)
      for index in 0..<elements.count { sums[index] += Double(row[index]) }
    }
    let scale = 1 / Double(max(1, references.count))
    for index in 0..<elements.count { destination[index] = Float(sums[index] * scale) }
  }

  /// The mean of all rows that are not averages, computed once, in order and in float64.
  private func average(
    row: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) -> [Float] {
    if let known = averageRow.withLock({ $0 }) { return known }
    var sums = [Double](repeating: 0, count: rowLength)
    var rows = 0
    for (run, start) in zip(runs, starts) {
      if case .averages = run { continue }
      for index in start..<(start + run.count) {
        let elements = (index * rowLength)..<((index + 1) * rowLength)
        // The row itself is a range without averages, so this does not come back here.
        let inside = UnsafeMutablePointer<Float>.allocate(capacity: rowLength)
        defer { inside.deallocate() }
        try read(elements, into: inside, scratch: UnsafeMutableRawPointer(row))
        for column in 0..<rowLength { sums[column] += Double(inside[column]) }
      }
      rows += run.count
    }
    let mean = sums.map { Float($0 / Double(max(1, rows))) }
    averageRow.withLock { $0 = mean }
    return mean
  }

  /// The run that holds a row, by bisection.
  private func runIndex(of row: Int) -> Int {
    var low = 0
    var high = runs.count - 1
    while low < high {
      let middle = (low + high + 1) / 2
      if starts[middle] <= row { low = middle } else { high = middle - 1 }
    }
    return low
  }
}
