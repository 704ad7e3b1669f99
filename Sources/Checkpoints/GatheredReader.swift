internal import EspalierBasics

/// Reads a parameter whose rows come from rows of others.
final class GatheredReader: ParameterReader {
  let elementCount: Int
  private let rowLength: Int
  private let sources: [any ParameterReader]
  private let runs: [RowRun]
  /// The first row of each run, and the number of rows behind the last.
  private let starts: [Int]

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
    let rows = max(count, rowLength)
    return alignedFloatBytes(rowLength) + (sources.map { $0.scratchBytes(for: rows) }.max() ?? 0)
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
      case .meanOfAll(let source):
        let rows = sources[source].elementCount / rowLength
        let all = (0..<rows).map { RowReference(source: source, row: $0) }
        try mean(all, elements: offset..<(offset + end - element), into: into, row: row, scratch: inner)
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
