#if SHA256
  internal import Crypto
#endif

extension Problem.Code {
  public static let sha256Unavailable = Problem.Code("sha256.unavailable")
}

/// Digests of whole files, for comparison with other programs.
public enum FileHash {
  /// Whether this program was built with the trait `SHA256`.
  public static var isAvailable: Bool {
    #if SHA256
      true
    #else
      false
    #endif
  }

  /// SHA-256 of a file, in hex.
  public static func sha256(of file: any ByteSource) throws(Problem) -> String {
    #if SHA256
      var hash = Crypto.SHA256()
      try file.forEachPiece(of: 0..<(try file.size())) { piece, _ in hash.update(bufferPointer: piece) }
      return hex(hash.finalize())
    #else
      throw Problem(
        .sha256Unavailable, "this program was built without SHA-256", remedy: "Build it with the trait SHA256.",
        file: file.path)
    #endif
  }

  /// SHA-256 of bytes in memory, in hex.
  public static func sha256(of bytes: [UInt8]) throws(Problem) -> String {
    #if SHA256
      return hex(Crypto.SHA256.hash(data: bytes))
    #else
      throw Problem(
        .sha256Unavailable, "this program was built without SHA-256", remedy: "Build it with the trait SHA256.")
    #endif
  }

  #if SHA256
    private static func hex(_ digest: SHA256Digest) -> String {
      digest.map { byte in
        let digits = String(byte, radix: 16)
        return digits.count == 1 ? "0" + digits : digits
      }.joined()
    }
  #endif
}
