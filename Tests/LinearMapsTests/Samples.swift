import EspalierBasics
import EspalierNumerics
import Testing

@testable import EspalierLinearMaps

/// Knuth's MMIX congruential generator, so that every failure can be run again.
struct TestGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: Int) { state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

  mutating func next() -> UInt64 {
    var word: UInt64 = 0
    for _ in 0..<4 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      word = word << 16 | state >> 48
    }
    return word
  }

  mutating func values(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
    (0..<count).map { _ in Float.random(in: range, using: &self) }
  }
}

extension WeightFormat {
  /// The formats that a weight may have.
  static let weights: [WeightFormat] =
    [ElementType.f64, .f32, .f16, .bf16, .f8e4m3, .f8e5m2].map(WeightFormat.elements)
    + BlockType.allCases.map(WeightFormat.blocks)
}

extension BlockType {
  /// Where a block has its halves, scales before minima.
  var halves: [Int] {
    switch self {
    case .q4_0, .q5_0, .q8_0, .iq4_nl, .iq4_xs: [0]
    case .q4_1, .q5_1, .q4_K, .q5_K: [0, 2]
    case .q2_K: [80, 82]
    case .q3_K: [108]
    case .q6_K: [208]
    case .q8_K, .mxfp4: []
    }
  }
}

/// Coded bytes of a random matrix: any codes, scales of ordinary size and either sign.
func randomBytes(
  _ format: WeightFormat, rows: Int, columns: Int, stride: Int? = nil, seed: Int
) throws -> AlignedBuffer {
  var generator = TestGenerator(seed: seed)
  let rowStride = stride ?? format.byteCount(of: columns)
  let buffer = try AlignedBuffer(byteCount: rows * rowStride)
  for row in 0..<rows {
    let start = buffer.address + row * rowStride
    switch format {
    case .elements(let type):
      type.encode(generator.values(columns), into: start, count: columns)
    case .blocks(let type):
      for offset in 0..<type.byteCount(of: columns) {
        start.storeBytes(of: UInt8.random(in: 0...255, using: &generator), toByteOffset: offset, as: UInt8.self)
      }
      for block in 0..<columns / type.blockLength {
        let block = start + block * type.blockBytes
        for half in type.halves {
          ElementType.f16.encode(generator.values(1, in: -0.01...0.01), into: block + half, count: 1)
        }
        if type == .q8_K { ElementType.f32.encode(generator.values(1, in: -0.01...0.01), into: block, count: 1) }
        if type == .mxfp4 { block.storeBytes(of: UInt8.random(in: 120...127, using: &generator), as: UInt8.self) }
      }
    }
  }
  return buffer
}

/// `x Wᵀ`, `x` being `[rows, inputWidth]`.
func apply(
  _ map: some LinearMap, _ x: [Float], rows: Int, mode: NumericMode = .exact,
  parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
) throws(Problem) -> [Float] {
  var y = [Float](repeating: .nan, count: rows * map.outputWidth)
  try x.withUnsafeBufferPointer { (x) throws(Problem) in
    try y.withUnsafeMutableBufferPointer { (y) throws(Problem) in
      try map.apply(
        MatrixView(x, rows: rows, columns: map.inputWidth),
        into: MutableMatrixView(y, rows: rows, columns: map.outputWidth), mode: mode, parallel: parallel)
    }
  }
  return y
}

/// What the tiles of a product with `map` write, one after the other.
func tiled(
  _ map: some LinearMap, _ x: [Float], rows: Int,
  _ product: (MatrixView<Float>, MutableMatrixView<Float>) throws -> (any TiledProduct)?
) throws -> [Float] {
  var y = [Float](repeating: .nan, count: rows * map.outputWidth)
  try x.withUnsafeBufferPointer { x in
    try y.withUnsafeMutableBufferPointer { y in
      let target = try MutableMatrixView(y, rows: rows, columns: map.outputWidth)
      let product = try #require(try product(try MatrixView(x, rows: rows, columns: map.inputWidth), target))
      for tile in 0..<product.tileCount { product.run(tile: tile) }
    }
  }
  return y
}

/// W, widened.
func widened(_ map: some LinearMap) throws(Problem) -> [Float] {
  var values = [Float](repeating: .nan, count: map.outputWidth * map.inputWidth)
  try values.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
    try map.gather(rows: 0..<map.outputWidth, into: buffer.baseAddress!)
  }
  return values
}
