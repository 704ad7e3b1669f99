public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierRestructuring

extension RestructuringPlan {
  /// One line before the work.
  public var summary: String {
    let speed = predictedSpeed.map { ", about \(Decimals.text($0, 2)) times as fast a token" } ?? ""
    return "\(request.text): \(parametersBefore) parameters, at most \(parametersWanted) stay, "
      + "\(ByteCount.text(bytesBefore)) become about \(ByteCount.text(bytesExpected))\(speed)"
  }

  /// Bytes of the result's tensors if all numbers take as many.
  var bytesExpected: Int { Int(Double(bytesBefore) * Double(parametersWanted) / Double(max(1, parametersBefore))) }

  /// How many times as fast a token is if as many leave as are to leave, and all of them from matrices it is multiplied with.
  public var predictedSpeed: Double? {
    guard let cost = TokenCost.of(checkpoint, described: description) else { return nil }
    let left = cost - (parametersBefore - parametersWanted)
    return left > 0 ? Double(cost) / Double(left) : nil
  }

  /// Bytes of the model's tensors.
  var bytesBefore: Int { conversion.layout.tensors.reduce(0) { $0 + $1.byteCount } }

  /// The plan for a program.
  public var json: JSON {
    [
      "request": .string(request.text), "parameters_before": .number(parametersBefore),
      "parameters_wanted": .number(parametersWanted), "bytes_before": .number(bytesBefore),
      "bytes_expected": .number(bytesExpected),
      "predicted_speed": predictedSpeed.map { .number($0) } ?? .null,
    ]
  }

  /// Everything that the result depends on, from the identity of files.
  func fingerprint() throws(Problem) -> JSON {
    var members: [(String, JSON)] = [
      ("version", .string(MergeRun.version)), ("request", .string(request.text)), ("mode", .string(run.mode.rawValue)),
      ("config", .string(Digest(of: checkpoint.config?.text() ?? "").description)),
    ]
    var files = checkpoint.weightFiles + (request.base?.checkpoint.weightFiles ?? [])
    switch request.source {
    case .nothing: break
    case .statistics(let path): files.append(path)
    case .text(let text):
      members.append(("texts", .array(text.documents.map { .string($0.digest.description) })))
      members.append(("tokens", .string(text.digest)))
    }
    for path in files {
      let identity = try WeightFile.identity(path)
      members.append(
        ("input \(path)", ["size": .number(identity.size), "modified": .number(identity.modifiedNanoseconds)]))
    }
    return .object(members)
  }
}
