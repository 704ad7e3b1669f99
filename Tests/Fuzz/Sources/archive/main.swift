import Driver
import Repair

@testable import EspalierBasics
@testable import EspalierCheckpoints

// A packed file, read whole and in pieces. Digests would stop every changed input, so they are put right first: the
// header's always, those of coded chunks where the table is understood.

/// In memory where the system has it.
private let folder = (FileSystem.isFolder("/dev/shm") ? "/dev/shm" : "/tmp") + "/fuzz-\(UInt64.random(in: 0 ..< .max))"
private let path = folder + "/x.safetensors.packed"
/// What is read of files that say they are larger.
private let mostBytes = 1 << 22

try FileSystem.createFolder(folder)
// The base of a seed.
try FileSystem.write((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 0x9e37 &>> 5) }, to: "\(folder)/base.bin")

_ = fuzz { data, count in
  guard let data else { return 0 }
  do {
    // Not by way of the disk.
    try File.writing(path, truncate: true).write(repaired(Array(UnsafeBufferPointer(start: data, count: count))), at: 0)
    let file = try ArchivedFile(at: path)
    let size = try file.size()
    _ = try? file.read(min(size, 1000), at: size / 3 - min(size / 3, 500))
    for index in 0..<min(file.pieceCount, 64) {
      let piece = file.piece(index)
      if piece.count > mostBytes { break }
      guard piece.lowerBound >= 0, piece.upperBound <= size else { finding("a piece outside the file: \(piece)") }
      _ = try? file.read(piece.count, at: piece.lowerBound)
    }
  } catch {}
  return 0
}
