internal import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// Reads a tensor stored in quantized blocks: the blocks that a range touches are read and decoded.
final class BlockReader: ParameterReader {
  private let tensor: StoredTensor
  private let type: BlockType
  private let file: any ByteSource

  init(_ tensor: StoredTensor, files: FilePool) throws(Problem) {
    guard case .blocks(let type) = tensor.format else {
      throw Problem(.checkpointFormat, "\(tensor.format.name) is no block type", tensor: tensor.name)
    }
    self.tensor = tensor
    self.type = type
    file = try files.file(tensor.file)
  }

  var elementCount: Int { tensor.elementCount }
  var residentBytes: Int { 0 }
  func scratchBytes(for count: Int) -> Int { Self.scratchBytes(for: count, format: tensor.format) }

  /// Room for a block of floats, then for the blocks of a range that begins and ends inside some.
  static func scratchBytes(for count: Int, format: WeightFormat) -> Int {
    guard case .blocks(let type) = format else { return 0 }
    return alignedFloatBytes(type.blockLength) + (count / type.blockLength + 2) * type.blockBytes
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard !range.isEmpty else { return }
    let length = type.blockLength
    let partial = scratch.assumingMemoryBound(to: Float.self)
    let coded = scratch + alignedFloatBytes(length)
    let blocks = range.lowerBound / length..<(range.upperBound + length - 1) / length
    let bytes = UnsafeMutableRawBufferPointer(start: coded, count: blocks.count * type.blockBytes)
    do throws(Problem) { try file.read(into: bytes, at: tensor.offset + blocks.lowerBound * type.blockBytes) } catch {
      throw error.at(tensor: tensor.name)
    }
    var position = range.lowerBound
    while position < range.upperBound {
      let block = position / length
      let source = coded + (block - blocks.lowerBound) * type.blockBytes
      let into = destination + (position - range.lowerBound)
      let whole = (range.upperBound - position) / length
      if position % length == 0, whole > 0 {
        type.decode(source, into: into, count: whole * length)
        position += whole * length
      } else {
        let end = min(range.upperBound, (block + 1) * length)
        type.decode(source, into: partial, count: length)
        into.update(from: partial + (position - block * length), count: end - position)
        position = end
      }
    }
  }
}

extension BlockType {
  /// What quantized weights are written as where nothing else is asked for.
  ///
  /// float16: its step is a thousandth of the step of every block type but one, and a merge whose result does not fit
  /// is refused. Of MXFP4, whose range it lacks, bfloat16 holds every value exactly; Q8_K has a float32 scale.
  public var unquantizedType: ElementType {
    switch self {
    case .mxfp4: .bf16
    case .q8_K: .f32
    default: .f16
    }
  }
}
