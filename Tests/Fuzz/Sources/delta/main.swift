import Driver
import EspalierNumerics
import Repair

@testable import EspalierBasics
@testable import EspalierCheckpoints
@testable import EspalierRecipes

// Files of deltas, of bases and of patches, coded or plain: each input is read as all three. Digests would stop every changed
// input, so the right ones are put in their place before changes are decoded, whole and in pieces, which must agree.

/// In memory where the system has it.
private let path =
  (FileSystem.isFolder("/dev/shm") ? "/dev/shm" : "/tmp") + "/fuzz-delta-\(UInt64.random(in: 0 ..< .max))"
/// By which a coded file is known.
private let codedMark = Array("{\"__metadata__\":{\"espalier_archive\"".utf8)
/// What is decoded of shapes that say they are larger.
private let mostElements = 1 << 18

_ = fuzz { data, count in
  guard let data else { return 0 }
  do {
    // Not by way of the disk.
    var input = Array(UnsafeBufferPointer(start: data, count: count))
    if input.dropFirst(8).starts(with: codedMark) { input = repaired(input) }
    try File.writing(path, truncate: true).write(input, at: 0)
  } catch { return 0 }
  if let delta = try? DeltaFile(at: path) { for tensor in delta.tensors { decode(tensor) } }
  if let basis = try? BasisFile(at: path) {
    for tensor in basis.tensors {
      for model in basis.models.indices { if let change = try? tensor.change(of: model) { decode(change) } }
    }
    _ = try? basis.index(of: "9223372036854775807", path: path)
  }
  if let record = try? PatchRecord(at: path) {
    for file in record.files where file.name.hasPrefix("/") || file.name.split(separator: "/").contains("..") {
      finding("a record leads to \(file.name)")
    }
  }
  return 0
}

private func decode(_ change: DeltaTensor) {
  var change = change
  let count = change.elementCount
  guard count <= mostElements, change.parts.allSatisfy({ $0.byteCount <= mostElements * 8 }),
    let file = try? WeightFile.open(path)
  else { return }
  var digests: [Digest] = []
  for part in change.parts {
    guard let bytes = try? file.read(part.byteCount, at: part.offset) else { return }
    digests.append(bytes.withUnsafeBytes { ChunkedDigest.digest(of: $0) })
  }
  change.digests = digests
  guard let decoder = try? DeltaDecoder(change, files: FilePool()),
    let scratch = try? AlignedBuffer(byteCount: max(64, DeltaDecoder.scratchBytes(of: change)))
  else { return }
  func added(_ pieces: [Range<Int>]) -> [UInt32] {
    var values = [Float](repeating: 0, count: count)
    values.withUnsafeMutableBufferPointer { values in
      for piece in pieces where !piece.isEmpty {
        decoder.add(piece, to: values.baseAddress! + piece.lowerBound, scratch: scratch.address)
      }
    }
    // One NaN is as good as another.
    return values.map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern }
  }
  let cut = count / 3
  guard added([0..<count]) == added([0..<cut, cut..<count]) else { finding("pieces of \(change.form.name) differ") }
}
