import EspalierBasics
import EspalierCoding
import EspalierNumerics
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Sizes and times of chunks for `Benchmarks/run_packing`, which says what to code in a file: a line for each stretch of
/// elements, `name path type offset bytes basePath baseOffset`, tabs between, `-` for no base. Written are lines
/// `name bytes coded encodeSeconds decodeSeconds`, in processor time of all threads.
@Suite struct PackingFigures {
  private static let list = FileSystem.environment("ESPALIER_PACKING_LIST")
  private static let missing: Comment = "NOT RUN: for Benchmarks/run_packing"

  private static func number(_ name: String, _ otherwise: Int) -> Int {
    FileSystem.environment(name).flatMap(Int.init) ?? otherwise
  }

  private struct Piece {
    var elements: UnsafeRawBufferPointer
    var base: UnsafeRawBufferPointer?
    var type: ElementType
    var coded: UnsafeMutableRawBufferPointer
    var size = 0
  }

  @Test(.enabled(if: list != nil, missing)) func figures() throws {
    let lines = String(decoding: try FileSystem.read(Self.list!), as: UTF8.self).split(separator: "\n")
    let stretches = lines.map { $0.split(separator: "\t").map(String.init) }
    var names: [String] = []
    for stretch in stretches where !names.contains(stretch[0]) { names.append(stretch[0]) }
    let pool = WorkerPool(threads: Self.number("ESPALIER_PACKING_THREADS", 1))
    defer { pool.stop() }
    for name in names {
      let figures = try measure(stretches.filter { $0[0] == name }, pool: pool)
      print("packing\t\(name)\t\(figures.bytes)\t\(figures.coded)\t\(figures.encode)\t\(figures.decode)")
    }
  }

  private func measure(
    _ stretches: [[String]], pool: WorkerPool
  ) throws -> (bytes: Int, coded: Int, encode: Double, decode: Double) {
    let chunk = Self.number("ESPALIER_PACKING_CHUNK", 512 << 10)
    var memory: [UnsafeMutableRawBufferPointer] = []
    defer { for part in memory { part.deallocate() } }
    func read(_ path: String, _ offset: Int, _ count: Int) throws -> UnsafeRawBufferPointer {
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
      memory.append(bytes)
      try File.reading(path).read(into: bytes, at: offset)
      return UnsafeRawBufferPointer(bytes)
    }
    var pieces: [Piece] = []
    var bytes = 0
    for stretch in stretches {
      let type = try #require(ElementType(safetensorsName: stretch[2]))
      let count = try #require(Int(stretch[4]))
      let elements = try read(stretch[1], try #require(Int(stretch[3])), count)
      let base = stretch[5] == "-" ? nil : try read(stretch[5], try #require(Int(stretch[6])), count)
      bytes += count
      for start in stride(from: 0, to: count, by: chunk) {
        let range = start..<min(count, start + chunk)
        let room = UnsafeMutableRawBufferPointer.allocate(
          byteCount: ChunkCoding.mostBytes(for: range.count), alignment: 64)
        memory.append(room)
        pieces.append(
          Piece(
            elements: UnsafeRawBufferPointer(rebasing: elements[range]),
            base: base.map { UnsafeRawBufferPointer(rebasing: $0[range]) }, type: type, coded: room))
      }
    }
    let back = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 64)
    memory.append(back)
    back.initializeMemory(as: UInt8.self, repeating: 0)
    for piece in pieces { piece.coded.initializeMemory(as: UInt8.self, repeating: 0) }
    var starts: [Int] = []
    var next = 0
    for piece in pieces {
      starts.append(next)
      next += piece.elements.count
    }
    var times: [(Double, Double)] = []
    for _ in 0..<Self.number("ESPALIER_PACKING_ROUNDS", 3) {
      let begin = processorSeconds()
      try pieces.withUnsafeMutableBufferPointer { pieces in
        nonisolated(unsafe) let pieces = pieces
        try pool.forEach(pieces.count) { index throws(Problem) in
          let piece = pieces[index]
          pieces[index].size = ChunkCoding.encode(
            piece.elements, of: piece.type, against: piece.base, into: piece.coded)
        }
      }
      let middle = processorSeconds()
      let made = pieces
      try pool.forEach(made.count) { index throws(Problem) in
        let piece = made[index]
        try ChunkCoding.decode(
          UnsafeRawBufferPointer(rebasing: piece.coded[..<piece.size]), against: piece.base,
          into: UnsafeMutableRawBufferPointer(rebasing: back[starts[index]..<(starts[index] + piece.elements.count)]))
      }
      times.append((middle - begin, processorSeconds() - middle))
    }
    for (piece, start) in zip(pieces, starts) {
      try #require(memcmp(piece.elements.baseAddress!, back.baseAddress! + start, piece.elements.count) == 0)
    }
    let middle = times.count / 2
    return (
      bytes, pieces.reduce(0) { $0 + $1.size }, times.map(\.0).sorted()[middle],
      times.map(\.1).sorted()[middle]
    )
  }

  private func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }
}
