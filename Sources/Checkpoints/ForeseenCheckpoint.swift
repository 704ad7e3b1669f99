public import EspalierBasics

/// A safetensors folder that is not written yet: what its headers and its small files will say, so that what comes after
/// it can be planned. Nothing of it can be read.
public struct ForeseenCheckpoint: Checkpoint {
  public let location: String
  public let config: JSON?
  public let parameters: [Parameter]
  public let weightFiles: [String]
  public let embeddedFiles: [String: [UInt8]]
  public var folder: String? { nil }
  public var warnings: [Problem] { [] }

  /// - Parameters:
  ///   - path: where the folder will be.
  ///   - files: weight files with the bytes before their data, and their sizes.
  ///   - small: the other files: config, tokenizer.
  /// - Throws: what is wrong with a header or the config.
  public init(
    at path: String, files: [(name: String, header: [UInt8], byteCount: Int)], small: [(name: String, bytes: [UInt8])]
  ) throws(Problem) {
    location = path
    weightFiles = files.map { "\(path)/\($0.name)" }
    embeddedFiles = Dictionary(small.map { ($0.name, $0.bytes) }, uniquingKeysWith: { _, last in last })
    var stored: JSON?
    if let bytes = embeddedFiles["config.json"] { stored = try JSON(parsing: bytes, acceptingInfinity: true) }
    var parameters: [Parameter] = []
    for (file, path) in zip(files, weightFiles) {
      // The length of the header stands before it.
      let header = try SafetensorsHeader(
        parsing: Array(file.header.dropFirst(8)), file: path, fileSize: file.byteCount)
      parameters += try ReducedSection.parameters(of: header)
    }
    var (problems, warnings) = (Problems(), [Problem]())
    let quantization = PackedConfiguration(of: stored, in: nil, problems: &problems, warnings: &warnings)
    parameters = PackedParameters.gather(
      parameters, quantization, bytes: nil, problems: &problems, warnings: &warnings)
    if let problem = problems.all.first { throw problem }
    config = quantization.config
    self.parameters = parameters.sorted { SafetensorsCheckpoint.precedes($0.name, $1.name) }
  }
}
