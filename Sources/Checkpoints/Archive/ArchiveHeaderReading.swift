internal import EspalierBasics
internal import EspalierNumerics

extension ArchiveHeader {
  /// Whether a file begins as packed ones do, whatever it is called.
  static func begins(_ file: any ByteSource) throws(Problem) -> Bool {
    let mark = Array("{\"__metadata__\":{\"\(key)\":".utf8)
    guard try file.size() >= 8 + mark.count else { return false }
    return try file.read(mark.count, at: 8) == mark
  }

  /// The header, and where the stored parts lie.
  ///
  /// - Throws: `archive.format` for what is no packed file, or one of a later version; `archive.damaged` if the header is not
  ///   what was written.
  static func read(_ file: any ByteSource) throws(Problem) -> (header: ArchiveHeader, places: [Range<Int>?]) {
    do throws(Problem) {
      let outer = try SafetensorsHeader(reading: file)
      guard let text = outer.metadata.first(where: { $0.key == key })?.value else {
        throw Problem(.archiveFormat, "this is no packed file: its header does not say so")
      }
      guard let check = outer.tensors.first, check.name == checkName, check.byteCount == checkBytes else {
        throw damaged("the header's digest is not where it belongs")
      }
      guard outer.tensors.allSatisfy({ $0.elementType == .u8 && $0.shape.count == 1 }) else {
        throw damaged("what is stored are no bytes in one dimension")
      }
      let digest = try file.read(checkBytes, at: check.offset)
      let head = try file.read(check.offset, at: 0)
      guard head.withUnsafeBytes({ Digest(of: $0) }).bytes == digest else {
        throw damaged("the header is not what was written")
      }
      let header = try ArchiveHeader(JSON(parsing: Array(text.utf8)), stored: Array(outer.tensors.dropFirst()))
      var rest = outer.tensors.dropFirst()
      let places = header.parts.map { part -> Range<Int>? in
        guard part.content == .stored, let tensor = rest.popFirst() else { return nil }
        return tensor.offset..<tensor.offset + tensor.byteCount
      }
      return (header, places)
    } catch { throw error.at(file: file.path) }
  }

  private static func damaged(_ what: String) -> Problem {
    Problem(.archiveDamaged, what, remedy: "Restore the file from a copy.")
  }

  private init(_ json: JSON, stored: [StoredTensor]) throws(Problem) {
    guard let version = json["version"]?.integer, version >= 1 else {
      throw Self.damaged("the header has no version")
    }
    guard version <= Self.formatVersion else {
      throw Problem(.archiveFormat, "the file was packed by a later version", remedy: "Update espalier.")
    }
    guard (json["lossy"] != nil) == (version == 2) else {
      throw Self.damaged("the version is not that of a file \(version == 2 ? "that lost something" : "without loss")")
    }
    guard let byteCount = json["bytes"]?.integer, (0...Self.mostBytes).contains(byteCount),
      let chunkBytes = json["chunk"]?.integer,
      let parts = json["parts"]?.array,
      Self.chunkSizes.contains(chunkBytes)
    else { throw Self.damaged("the header does not say what the file holds") }
    self.init(byteCount: byteCount, chunkBytes: chunkBytes, parts: [])
    let files = json["base"].map(\.array) ?? []
    guard let files else { throw Self.damaged("the files of the base are no list") }
    base = try files.map { (file) throws(Problem) in
      guard let path = file["path"]?.string, let bytes = file["bytes"]?.integer, (0...Self.mostBytes).contains(bytes)
      else {
        throw Self.damaged("a file of the base has no path")
      }
      return BaseFile(path: path, byteCount: bytes)
    }
    if let sha256 = json["sha256"] {
      self.sha256 = sha256.string
      guard self.sha256.map(Self.isSHA256) ?? false else { throw Self.damaged("the SHA-256 is none") }
    }
    var (rest, offset) = (stored[...], 0)
    for (index, words) in parts.enumerated() {
      var part = try Self.part(words.array ?? [], before: self.parts)
      if let place = part.base {
        guard base.indices.contains(place.file), place.offset >= 0,
          place.offset <= base[place.file].byteCount - part.byteCount
        else { throw Self.damaged("part \(index) has no place in the base") }
      }
      if part.content == .stored {
        guard let tensor = rest.popFirst() else { throw Self.damaged("part \(index) is not stored") }
        part.name = tensor.name
        guard tensor.byteCount >= ArchiveChunk.recordBytes * part.chunkCount(of: chunkBytes) else {
          throw Self.damaged("part \(index) is shorter than its table")
        }
      }
      self.parts.append(part)
      let (end, isTooLong) = offset.addingReportingOverflow(part.byteCount)
      guard !isTooLong else { throw Self.damaged("the parts are longer than any file") }
      offset = end
    }
    guard offset == byteCount, rest.isEmpty else { throw Self.damaged("the parts are not the whole file") }
    if let lossy = json["lossy"] {
      guard let loss = ArchiveLoss(lossy, parts: self.parts.count),
        loss.parts.allSatisfy({ self.parts[$0.part].type.isFloat })
      else {
        throw Self.damaged("what was lost is not told as it should be")
      }
      self.loss = loss
    }
  }

  private static func isSHA256(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
  }

  private static func part(_ words: [JSON], before: [Part]) throws(Problem) -> Part {
    guard words.count >= 2, let type = words[0].string.flatMap({ ElementType(rawValue: $0) }),
      let bytes = words[1].integer, (1...mostBytes).contains(bytes)
    else { throw damaged("a part has no type or no length") }
    var part = Part(name: "", type: type, byteCount: bytes)
    switch words.dropFirst(2).first?.string {
    case "same":
      guard words.count == 4, let other = words[3].integer, before.indices.contains(other),
        before[other].byteCount == bytes, before[other].content == .stored
      else { throw damaged("a part repeats none") }
      part.name = before[other].name
      part.content = .same(as: other)
    case "base":
      guard words.count == 5, let file = words[3].integer, let offset = words[4].integer else {
        throw damaged("a part has no place in the base")
      }
      part.base = Place(file: file, offset: offset)
    case nil where words.count == 2: break
    default: throw damaged("a part is of a kind that is not known")
    }
    return part
  }
}
