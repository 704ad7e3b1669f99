public import EspalierBasics
public import EspalierCheckpoints

extension OutputLayout {
  /// A GGUF model in one file, or in parts that its name tells apart (`NAME-00001-of-00003.gguf`), the first of which
  /// has the metadata.
  ///
  /// - Parameters:
  ///   - tensors: in the order in which they lie in the files; rows are whole blocks of their types.
  ///   - fileBytes: a part ends before the tensor whose data would carry it past this.
  ///   - stem: the name of the file without `.gguf`.
  ///   - liesBeside: as ``OutputLayout/liesBeside``.
  /// - Throws: `gguf.tensor`, `gguf.metadata` for what no reader would take.
  public init(
    gguf tensors: [GGUFTensorRequest], metadata: GGUFMetadata, fileBytes: Int, stem: String,
    liesBeside: Bool = true
  ) throws(Problem) {
    var parts: [Range<Int>] = []
    var first = 0
    var filled = 0
    for (index, tensor) in tensors.enumerated() {
      if index > first, filled + tensor.byteCount > fileBytes {
        parts.append(first..<index)
        first = index
        filled = 0
      }
      filled += tensor.byteCount
    }
    parts.append(first..<tensors.count)
    var files: [OutputFile] = []
    var placed: [OutputTensor] = []
    for (number, part) in parts.enumerated() {
      let header = try GGUFHeader.bytes(
        for: Array(tensors[part]),
        metadata: Self.metadata(of: number, in: parts.count, tensors: tensors.count, whole: metadata))
      for (tensor, offset) in zip(tensors[part], header.offsets) {
        placed.append(
          OutputTensor(
            name: tensor.name, format: tensor.format, shape: tensor.shape, file: number,
            offset: header.bytes.count + offset))
      }
      files.append(
        OutputFile(
          name: stem + (parts.count > 1 ? Self.part(number, of: parts.count) : "") + ".gguf", header: header.bytes,
          byteCount: header.bytes.count + header.dataBytes))
    }
    self.init(files: files, tensors: placed, liesBeside: liesBeside)
  }

  /// What a part says of itself, and of the model if it is the first.
  private static func metadata(
    of number: Int, in count: Int, tensors: Int, whole: GGUFMetadata
  ) -> GGUFMetadata {
    var metadata = number == 0 ? whole : GGUFMetadata()
    for key in ["split.no", "split.count", "split.tensors.count"] { metadata.remove(key) }
    guard count > 1 else { return metadata }
    if number > 0, whole.integer("general.alignment") != nil {
      metadata.set("general.alignment", to: .u32(UInt32(GGUFHeader.alignment(in: whole))))
    }
    metadata.set("split.no", to: .u16(UInt16(clamping: number)))
    metadata.set("split.count", to: .u16(UInt16(clamping: count)))
    metadata.set("split.tensors.count", to: .i32(Int32(clamping: tensors)))
    return metadata
  }
}
