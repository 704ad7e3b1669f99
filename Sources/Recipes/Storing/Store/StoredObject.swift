internal import EspalierBasics
internal import EspalierCheckpoints

/// A file of a store: its name is the digest of the bytes that it stands for, so that equal files are one.
///
/// Files of weights are packed (`DIGEST.safetensors.packed`), all others lie there as they are (`DIGEST`).
struct StoredObject: Hashable {
  /// Of the file, over its pieces of 4 MiB.
  let digest: Digest
  /// Of files of weights, which tells how they are read; else empty.
  let ending: String

  private static let endings = [".safetensors", ".gguf"]

  init(_ digest: Digest, ofFile name: String) {
    self.digest = digest
    ending = Self.endings.first { name.lowercased().hasSuffix($0) } ?? ""
  }

  /// Nil for what is no object's name.
  init?(name: String) {
    let plain = WeightFile.name(name)
    guard let digest = Digest(String(plain.prefix(32))) else { return nil }
    (self.digest, ending) = (digest, String(plain.dropFirst(32)))
    guard ending.isEmpty || Self.endings.contains(ending), ExactString(name) == ExactString(self.name) else {
      return nil
    }
  }

  var isPacked: Bool { !ending.isEmpty }
  var name: String { digest.description + ending + (isPacked ? WeightFile.packedSuffix : "") }
  /// Of the folder of objects.
  var folder: String { String(digest.description.prefix(2)) }
  /// What files that are packed against it call it.
  var baseName: String { WeightFile.name(name) }

  /// The object that a path of a base leads to.
  init?(basePath: String) {
    self.init(name: FileSystem.lastComponent(of: basePath) + WeightFile.packedSuffix)
  }
}
