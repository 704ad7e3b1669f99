import Driver
import EspalierCoding
import EspalierNumerics

/// The first two bytes say how long the chunk is. The rest is taken as coded bytes; and as a chunk of every type, which
/// comes back as it was, by itself and against a base; and as integers of a lattice.
_ = fuzz { data, count in
  guard count >= 2, let data else { return 0 }
  let input = UnsafeRawBufferPointer(start: data + 2, count: count - 2)
  let length = Int(data[0]) | Int(data[1] & 15) << 8
  let base = (0..<max(length, input.count)).map { UInt8(truncatingIfNeeded: $0 &* 0x9e37 &>> 5) }
  base.withUnsafeBytes { base in
    var chunk = [UInt8](repeating: 0, count: length)
    chunk.withUnsafeMutableBytes { chunk in
      try? ChunkCoding.decode(input, against: UnsafeRawBufferPointer(rebasing: base[..<length]), into: chunk)
    }
    let against = UnsafeRawBufferPointer(rebasing: base[..<input.count])
    for type in ElementType.allCases {
      for base in [nil, against] {
        let coded = ChunkCoding.encode(input, of: type, against: base)
        if coded.count > ChunkCoding.mostBytes(for: input.count) { finding("a coding is longer than it may be") }
        var back = [UInt8](repeating: 0, count: input.count)
        back.withUnsafeMutableBytes { back in
          coded.withUnsafeBytes { coded in
            do { try ChunkCoding.decode(coded, against: base, into: back) } catch { finding("refused: \(error)") }
          }
        }
        if !back.elementsEqual(input) { finding("a chunk comes back as another") }
      }
    }
  }
  let lattice = ChunkLattice(steps: [0.25, 0.75, 1.5], firstColumn: Int(data[0]) % 3)
  for type in [ElementType.bf16, .f16, .f32] {
    let numbers = input.enumerated().map {
      Float(Int8(bitPattern: $1)) * lattice.steps[($0 + lattice.firstColumn) % 3] + 0
    }
    var chunk = [UInt8](repeating: 0, count: numbers.count * type.byteWidth)
    chunk.withUnsafeMutableBytes { chunk in
      if let start = chunk.baseAddress { type.encode(numbers, into: start, count: numbers.count) }
    }
    let coded = chunk.withUnsafeBytes { ChunkCoding.encode($0, of: type, on: lattice) }
    var back = [UInt8](repeating: 1, count: chunk.count)
    back.withUnsafeMutableBytes { back in
      coded.withUnsafeBytes { coded in
        do { try ChunkCoding.decode(coded, into: back) } catch { finding("a lattice's coding is refused: \(error)") }
      }
    }
    if back != chunk { finding("a lattice comes back as another") }
  }
  return 0
}
