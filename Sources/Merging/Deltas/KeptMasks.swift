internal import CKernels
internal import EspalierExecution

/// Remembers which elements of every model's change were kept, a bit each, from one pass to the next.
///
/// Random choices could be made again from their keys, and are where the tensor is so large that the bits would take
/// much memory; remembering them is faster and gives the same.
final class KeptMasks: @unchecked Sendable {
  /// More than this is not remembered.
  private static let mostBytes = 64 << 20

  private let words: UnsafeMutablePointer<UInt64>
  private let wordsPerBlock: Int
  private let blockCount: Int

  /// - Returns: nil if the masks would be too large.
  init?(models: Int, tiling: Tiling) {
    let bytes = Self.bytes(models: models, tiling: tiling)
    guard bytes > 0 else { return nil }
    wordsPerBlock = Self.wordsPerBlock(tiling)
    blockCount = tiling.blockCount
    words = .allocate(capacity: bytes / 8)
  }

  deinit { words.deallocate() }

  /// What the masks take; 0 if they are too large to be kept.
  static func bytes(models: Int, tiling: Tiling) -> Int {
    let bytes = 8 * models * tiling.blockCount * wordsPerBlock(tiling)
    return bytes <= mostBytes ? bytes : 0
  }

  private static func wordsPerBlock(_ tiling: Tiling) -> Int { (tiling.blockLength + 63) / 64 }

  private func bits(_ model: Int, _ block: Block) -> UnsafeMutablePointer<UInt64> {
    words + (model * blockCount + block.index) * wordsPerBlock
  }

  /// Remembers which of the changes in the block are not 0; blocks may come from several threads at once.
  func store(_ block: Block) {
    for model in 0..<(block.inputs.count - 1) {
      es_pack_mask(block.inputs[model + 1], Int64(block.count), bits(model, block))
    }
  }

  /// Sets to 0 the changes that were.
  func apply(to block: Block) {
    for model in 0..<(block.inputs.count - 1) {
      es_apply_mask(block.inputs[model + 1], Int64(block.count), bits(model, block))
    }
  }
}
