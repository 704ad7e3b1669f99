internal import CKernels
internal import EspalierNumerics

/// Processors' instructions for the same integer dot products, the slowest first.
enum DotKernel: UInt32, CaseIterable {
  case portable, avx2, avxVNNI, avx512, neon

  static let fastest = DotKernel(rawValue: es_linear_fastest_kernel().rawValue) ?? .portable
  static var available: [DotKernel] { allCases.filter { es_linear_kernel_runs($0.native) } }

  var native: es_linear_kernel { es_linear_kernel(rawValue: rawValue) ?? .portable }
}

extension BlockType {
  /// The type's integer dot product; nil where there is none.
  var dot: es_linear_format? {
    switch self {
    case .q4_0: .q4_0
    case .q4_1: .q4_1
    case .q5_0: .q5_0
    case .q5_1: .q5_1
    case .q8_0: .q8_0
    case .iq4_nl: .iq4_nl
    case .q2_K: .q2_K
    case .q3_K: .q3_K
    case .q4_K: .q4_K
    case .q5_K: .q5_K
    case .q6_K: .q6_K
    case .iq4_xs: .iq4_xs
    case .mxfp4: .mxfp4
    case .q8_K: nil
    }
  }
}

/// Activations in 16-bit integers, in blocks of 32 that share a scale:
///
///     s = max |x| / 32639, c = x / s rounded to nearest, ties to even        |x - s c| <= s
///
/// A block with a NaN or an infinity makes its whole row NaN. Cost: 3.75 bytes a number.
final class CodedActivations {
  private let memory: Scratch
  let rows: Int
  /// Codes from one row to the next.
  let codesOfRow: Int

  /// - Parameter places: where each column is put; nil: where it is.
  init(_ x: MatrixView<Float>, places: UnsafePointer<Int32>? = nil) {
    rows = x.rows
    codesOfRow = es_linear_codes_count(x.columns)
    memory = Scratch(byteCount: rows * codesOfRow * MemoryLayout<es_linear_codes>.stride)
    guard let elements = x.elements else { return }
    guard let places else {
      for row in 0..<rows { es_linear_code(elements + row * x.stride, x.columns, codes + row * codesOfRow) }
      return
    }
    let moved = Scratch(byteCount: x.columns * MemoryLayout<Float>.stride)
    let target = moved.address.assumingMemoryBound(to: Float.self)
    for row in 0..<rows {
      let source = elements + row * x.stride
      for column in 0..<x.columns { target[Int(places[column])] = source[column] }
      es_linear_code(target, x.columns, codes + row * codesOfRow)
    }
  }

  var codes: UnsafeMutablePointer<es_linear_codes> { memory.address.assumingMemoryBound(to: es_linear_codes.self) }
}

/// `y = x Wᵀ` in integers for few rows of x.
struct IntegerProduct: FewRowProduct {
  let operands: FewRowOperands<StoredMatrix, es_linear_codes>
  private let activations: CodedActivations
  private let format: es_linear_format
  private let kernel: DotKernel

  /// Nil if the matrix has no such product, or y no elements.
  init?(
    _ activations: CodedActivations, _ matrix: StoredMatrix, into y: MutableMatrixView<Float>,
    kernel: DotKernel = .fastest
  ) {
    guard case .blocks(let type) = matrix.format, let format = type.dot,
      let operands = FewRowOperands(
        UnsafePointer(activations.codes), stride: activations.codesOfRow, tokens: activations.rows, matrix, into: y)
    else { return nil }
    self.operands = operands
    self.activations = activations
    self.format = format
    self.kernel = kernel
  }

  func run(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let matrix = operands.matrix
    es_linear_dot(
      kernel.native, format, matrix.address(ofRow: rows.lowerBound), matrix.rowStride, rows.count, matrix.inputWidth,
      operands.x, operands.tokens, target, operands.yStride)
  }
}
